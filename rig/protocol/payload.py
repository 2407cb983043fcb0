"""What a frame's payload says, read with care: a device may send anything."""

from __future__ import annotations

from typing import Any, Final, TypedDict

import msgspec

from rig.history.events import Frame, Sender
from rig.protocol.frames import KEEP, RawFrame
from rig.protocol.names import close_code_is_valid

NESTING_BOUND: Final = 1_000
"""Opening brackets in a message that is still parsed; deeper JSON exhausts the stack."""

TYPE_BOUND: Final = 200
"""Characters of a `type` that are kept."""

_decoder = msgspec.json.Decoder(dict[str, Any])


class Message(TypedDict):
    """The parsed fields of a `Frame` or `EarlyBytes` event."""

    type: str | None
    message: dict[str, Any] | None


def parse_message(payload: bytes) -> Message:
    """Parse a text payload as a Sendspin message. Both None: it is no JSON object."""
    nothing = Message(type=None, message=None)
    if payload.count(b"{") + payload.count(b"[") > NESTING_BOUND:
        return nothing
    try:
        message = _decoder.decode(payload)
        msgspec.json.encode(message)  # what cannot be written must not reach the history
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return nothing
    kind = message.get("type")
    return Message(type=kind[:TYPE_BOUND] if isinstance(kind, str) else None, message=message)


def payload_of(frame: Frame) -> dict[str, Any]:
    """A message's payload; empty when it has none that is an object."""
    payload = (frame.message or {}).get("payload")
    return payload if isinstance(payload, dict) else {}


class Assembly:
    """Puts the fragments of one direction's text messages together, up to the payload bound."""

    def __init__(self) -> None:
        self._open: str | None = None
        self._text = bytearray()
        self._whole = True

    def message_of(self, frame: RawFrame) -> tuple[Message, str | None]:
        """The message that `frame` completes, and what is wrong with it as a fragment, if any."""
        nothing = Message(type=None, message=None)
        if frame.opcode not in ("text", "binary", "continuation"):
            return nothing, None
        wrong: str | None = None
        if frame.opcode == "continuation":
            if self._open is None:
                return nothing, "a continuation frame that continues nothing"
        else:
            if self._open is not None:
                wrong = f"a {frame.opcode} frame inside a fragmented {self._open} message"
            self._open = frame.opcode
            self._text.clear()
            self._whole = True
        self._whole = self._whole and frame.whole and not frame.compressed
        room = KEEP - len(self._text)
        if len(frame.payload) > room:
            self._whole = False
        self._text += frame.payload[:room]
        if not frame.fin:
            return nothing, wrong
        is_text = self._open == "text"
        self._open = None
        payload = bytes(self._text)
        self._text.clear()
        if not (is_text and self._whole):
            return nothing, wrong
        if wrong is None:
            wrong = _not_utf8(payload)
        return parse_message(payload), wrong


def _not_utf8(payload: bytes) -> str | None:
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"a text message is not UTF-8: {error.reason} at byte {error.start}"
    return None


def close_fields(frame: RawFrame) -> tuple[int | None, str | None, str | None]:
    """Code and reason of a Close frame, and what is wrong with it, if anything."""
    if not frame.payload:
        return None, None, None
    if len(frame.payload) == 1:
        return None, None, "a Close frame with one byte of payload"
    code = int.from_bytes(frame.payload[:2], "big")
    reason = frame.payload[2:].decode("utf-8", "replace")
    if not close_code_is_valid(code):
        return code, reason, f"a Close frame with the code {code}, which none may send"
    wrong = _not_utf8(frame.payload[2:])
    return code, reason, f"the reason of a Close frame: {wrong}" if wrong else None


def _shown(frame: RawFrame) -> int:
    """Bytes of a payload that an event shows: a control frame's all, as a pong must repeat them."""
    return 125 if frame.opcode in ("ping", "pong", "close") else 32


def frame_event(
    conn: int, sender: Sender, frame: RawFrame, assembly: Assembly, t: int
) -> tuple[Frame, str | None]:
    """The `Frame` event of a raw frame, and what is wrong with the frame, if anything."""
    message, wrong = assembly.message_of(frame)
    code: int | None = None
    reason: str | None = None
    if frame.opcode == "close":
        code, reason, wrong = close_fields(frame)
    is_text = frame.opcode == "text" and not frame.compressed
    event = Frame(
        t=t,
        conn=conn,
        sender=sender,
        opcode=frame.opcode,
        size=frame.size,
        fin=frame.fin,
        masked=frame.masked,
        text=frame.payload.decode("utf-8", "replace") if is_text else None,
        head=None if is_text else frame.payload[: _shown(frame)].hex(),
        type=message["type"],
        message=message["message"],
        close_code=code,
        close_reason=reason,
    )
    return event, wrong


def sealed_event(
    conn: int, sender: Sender, message_id: int, data: bytes, t: int, sealed: int
) -> Frame:
    """What was inside the binary frame with event number `sealed`; `message_id` 0 is JSON."""
    text = message_id == 0
    message = parse_message(data) if text else Message(type=None, message=None)
    return Frame(
        t=t,
        conn=conn,
        sender=sender,
        opcode="text" if text else "binary",
        size=len(data) if text else 1 + len(data),
        text=data[:KEEP].decode("utf-8", "replace") if text else None,
        head=None if text else (bytes((message_id,)) + data[:31]).hex(),
        type=message["type"],
        message=message["message"],
        sealed=sealed,
    )
