"""WebSocket frames as bytes: writing any frame, right or wrong, and reading one direction.

Reading is wsproto's `FrameDecoder` (it asks nothing of a handshake and answers nothing), told for
each frame whether to expect a mask, so that one reader serves both directions and a wrongly masked
frame is still read. Memory is bounded: of each payload only the first bytes are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    CloseReason,
    FrameDecoder,
    FrameProtocol,
    Opcode,
    ParseFailed,
    RsvBits,
)

from rig.history.events import Opcode as OpcodeName

KEEP: Final = 16_384
"""Bytes of a payload that are kept; longer ones are counted, not kept."""

NAMES: Final[dict[int, OpcodeName]] = {
    Opcode.CONTINUATION: "continuation",
    Opcode.TEXT: "text",
    Opcode.BINARY: "binary",
    Opcode.CLOSE: "close",
    Opcode.PING: "ping",
    Opcode.PONG: "pong",
}
NUMBERS: Final[dict[OpcodeName, int]] = {name: int(number) for number, name in NAMES.items()}


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A frame as read: `payload` holds its first bytes (`KEEP`, unless the reader keeps more),
    unmasked; `size` is its true size.

    `compressed`: its first reserved bit is set (permessage-deflate), so the payload is no text.
    """

    opcode: OpcodeName
    size: int
    fin: bool
    masked: bool
    payload: bytes
    compressed: bool = False

    @property
    def whole(self) -> bool:
        """Whether `payload` is all of it."""
        return self.size == len(self.payload)


class _Reserved(Extension):
    """Accepts the first reserved bit, as a connection with permessage-deflate does."""

    name = "reserved"

    def __init__(self) -> None:
        self.seen = False

    def offer(self) -> bool | str:
        return False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,  # noqa: ARG002 - wsproto's signature
        opcode: Opcode,  # noqa: ARG002
        rsv: RsvBits,
        payload_length: int,  # noqa: ARG002
    ) -> CloseReason | RsvBits:
        self.seen = rsv.rsv1
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(
        self,
        proto: FrameDecoder | FrameProtocol,  # noqa: ARG002
        data: bytes,
    ) -> bytes:
        return data


class FrameReader:
    """Reads the frames of one direction. Never raises: `error` holds the parser's words.

    After an error nothing more is read, as frame boundaries are lost.
    """

    def __init__(self, *, compressed: bool = False, keep: int = KEEP) -> None:
        """`compressed`: permessage-deflate was agreed, so reserved bit 1 may be set. `keep`: bytes
        of a payload that are kept."""
        self._keep = keep
        self.error: str | None = None
        self._reserved = _Reserved()
        self._decoder = FrameDecoder(
            client=True, extensions=[self._reserved] if compressed else None
        )
        self._kept = bytearray()
        self._size = 0
        self._opcode: int | None = None
        self._masked = False

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self.error is None and (
            self._decoder.header is not None or len(self._decoder.buffer) > 0
        )

    def feed(self, data: bytes) -> list[RawFrame]:
        """The frames that `data` completes."""
        if self.error is not None:
            return []
        frames: list[RawFrame] = []
        decoder = self._decoder
        decoder.receive_bytes(data)
        try:
            while True:
                if decoder.header is None:
                    pending = decoder.buffer.buffer
                    if len(pending) < 2:
                        return frames
                    self._masked = bool(pending[1] & 0x80)
                    decoder.client = not self._masked
                piece = decoder.process_buffer()
                if piece is None:
                    return frames
                if self._opcode is None:
                    self._opcode = piece.opcode
                payload = piece.payload
                assert isinstance(payload, bytes)
                self._size += len(payload)
                room = self._keep - len(self._kept)
                if room > 0:
                    self._kept += payload[:room]
                if piece.frame_finished:
                    frames.append(self._finished(fin=piece.message_finished))
        except ParseFailed as error:
            self.error = str(error)
            return frames

    def _finished(self, *, fin: bool) -> RawFrame:
        frame = RawFrame(
            opcode=NAMES[self._opcode or 0],
            size=self._size,
            fin=fin,
            masked=self._masked,
            payload=bytes(self._kept),
            compressed=self._reserved.seen,
        )
        self._kept.clear()
        self._size = 0
        self._opcode = None
        return frame


def frame_extent(data: bytes) -> int | None:
    """The whole length in bytes of the frame that `data` begins with; None: not known yet.

    Raises `ValueError` where `data` cannot be the beginning of a frame.
    """
    if not data:
        return None
    start = data[:14] if len(data) > 1 else data + b"\x00"
    decoder = FrameDecoder(client=not start[1] & 0x80)
    decoder.receive_bytes(start)
    try:
        complete = decoder.parse_header()
    except ParseFailed as error:
        raise ValueError(str(error)) from error
    if not complete or decoder.header is None or len(data) < 2:
        return None
    return len(start) - len(decoder.buffer) + decoder.header.payload_len


def mask_payload(payload: bytes, mask: bytes) -> bytes:
    """`payload` under the 4-byte `mask` (RFC 6455, 5.3); the same call unmasks."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def encode_frame(
    opcode: OpcodeName | int,
    payload: bytes = b"",
    *,
    mask: bytes | None = None,
    fin: bool = True,
    reserved: int = 0,
) -> bytes:
    """One frame as bytes. Nothing is checked: frames that break the rules are wanted too.

    `mask` is 4 bytes, or None for an unmasked frame; `reserved` the three RSV bits (0 to 7);
    a number as `opcode` may be one that RFC 6455 does not define.
    """
    number = opcode if isinstance(opcode, int) else NUMBERS[opcode]
    first = (0x80 if fin else 0) | (reserved << 4) | number
    bit = 0x80 if mask is not None else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65_536:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    return head + mask + mask_payload(payload, mask)


def encode_close(code: int | None, reason: str = "", *, mask: bytes | None = None) -> bytes:
    """A Close frame; `code` None makes one without a code."""
    body = b"" if code is None else code.to_bytes(2, "big") + reason.encode()[:123]
    return encode_frame("close", body, mask=mask)
