"""What the flasher and its worker process say to each other, and the events a caller sees.

A message is a MessagePack body (msgspec, tagged by type) behind its length in four bytes, most
significant first. Requests go down the worker's standard input, events come up its standard
output. The bytes to write travel in the request, so what was checked is what gets written.
"""

from __future__ import annotations

import struct

import msgspec

MAX_MESSAGE = 160 * 1024 * 1024
"""Bytes; larger than the largest flash (128 MiB) and everything around it."""

LENGTH = struct.Struct(">I")


class Link(msgspec.Struct, frozen=True):
    """How to reach the board. `bauds`: transfer rates to try in turn, the first one first."""

    url: str
    bauds: list[int]
    before: str
    after: str
    stub: bool = True
    connect_attempts: int = 7
    mac: str | None = None
    """Refuse any other board."""
    owner_resets: bool = False
    """The flasher's caller resets the board when asked (`ResetAsked`)."""
    owner_powers: bool = False
    """It can take the board's power away for a moment, too."""


class Piece(msgspec.Struct, frozen=True):
    """Bytes for one place in flash."""

    name: str
    offset: int
    data: bytes
    encrypted: bool = False


class Settings(msgspec.Struct, frozen=True):
    """Flash settings for the loader's image header; `keep` leaves what the image says."""

    mode: str = "keep"
    freq: str = "keep"
    size: str = "keep"


# Requests


class WriteRequest(msgspec.Struct, frozen=True, tag="write"):
    """Write and verify; `chip`: refuse another one; `needs`: bytes of flash that must be there."""

    link: Link
    pieces: list[Piece]
    settings: Settings
    chip: str | None = None
    needs: int = 0
    verify: bool = True
    skip_unchanged: bool = True
    erase_all: bool = False
    force: bool = False
    memory: str = ""
    """Folder where is remembered what each board's flash holds; empty: nothing is."""
    label: str = ""
    """Which firmware it is, for people."""


class VerifyRequest(msgspec.Struct, frozen=True, tag="verify"):
    """Compare the flash with the pieces; writes nothing."""

    link: Link
    pieces: list[Piece]
    settings: Settings
    chip: str | None = None
    needs: int = 0
    force: bool = False


class InfoRequest(msgspec.Struct, frozen=True, tag="info"):
    """Ask the chip who it is."""

    link: Link
    chip: str | None = None


class ReadRequest(msgspec.Struct, frozen=True, tag="read"):
    """Read flash; `size` None: to its end."""

    link: Link
    offset: int = 0
    size: int | None = None
    chip: str | None = None


class EraseRequest(msgspec.Struct, frozen=True, tag="erase"):
    """Erase flash; `size` None: all of it. Whole sectors (4096 bytes) only."""

    link: Link
    offset: int = 0
    size: int | None = None
    chip: str | None = None
    memory: str = ""


Request = WriteRequest | VerifyRequest | InfoRequest | ReadRequest | EraseRequest


class ResetDone(msgspec.Struct, frozen=True, tag="reset-done"):
    """The owner's answer to `ResetAsked`."""


Down = Request | ResetDone


# Events


class ChipInfo(msgspec.Struct, frozen=True):
    """The chip on the port. `flash_size` in bytes, None where it cannot be asked."""

    chip: str
    description: str
    revision: str
    mac: str
    flash_size: int | None
    stub_was_running: bool = False


class Connecting(msgspec.Struct, frozen=True, tag="connecting"):
    """About to open the port and synchronise; `attempt` counts from 1."""

    attempt: int
    baud: int


class ChipFound(msgspec.Struct, frozen=True, tag="chip"):
    """The board answered."""

    info: ChipInfo


class StubRunning(msgspec.Struct, frozen=True, tag="stub"):
    """esptool's stub loader runs on the chip; `baud` is the transfer rate from here on."""

    baud: int


class Interrupted(msgspec.Struct, frozen=True, tag="interrupted"):
    """The last flash of this board never ended: all of it is written anew.

    `label`: of which firmware; `when`: begun at, in seconds since 1970.
    """

    label: str
    when: float


class Erasing(msgspec.Struct, frozen=True, tag="erasing"):
    """Erasing `size` bytes from `offset`; `size` None: the whole flash."""

    offset: int
    size: int | None


class Writing(msgspec.Struct, frozen=True, tag="writing"):
    """Region `region` of `regions` (from 1): `done` of `size` bytes are written."""

    region: int
    regions: int
    name: str
    offset: int
    done: int
    size: int


class Skipped(msgspec.Struct, frozen=True, tag="skipped"):
    """The flash already holds this region: the chip's own MD5 says so."""

    region: int
    regions: int
    name: str
    offset: int
    size: int


class Comparing(msgspec.Struct, frozen=True, tag="comparing"):
    """The chip computes the MD5 of this region, to see whether it must be written at all."""

    region: int
    regions: int
    name: str
    offset: int
    size: int


class Verifying(msgspec.Struct, frozen=True, tag="verifying"):
    """The chip computes the MD5 of this region, which must be that of the bundle's bytes."""

    region: int
    regions: int
    name: str
    offset: int
    size: int


class Verified(msgspec.Struct, frozen=True, tag="verified"):
    """The chip's MD5 of this region is that of the bundle's bytes."""

    region: int
    regions: int
    name: str
    offset: int
    size: int


class Reading(msgspec.Struct, frozen=True, tag="reading"):
    """`done` of `size` bytes are read from `offset` on."""

    offset: int
    done: int
    size: int


class Retrying(msgspec.Struct, frozen=True, tag="retrying"):
    """An attempt failed for a reason that another one may mend."""

    attempt: int
    reason: str
    baud: int


class Resetting(msgspec.Struct, frozen=True, tag="resetting"):
    """The board gets reset; `download`: into its ROM loader; `cold`: its power goes, too."""

    download: bool
    cold: bool = False


class Log(msgspec.Struct, frozen=True, tag="log"):
    """A line of esptool's own talk; `level`: info, note, warning or error."""

    text: str
    level: str = "info"


Event = (
    Connecting
    | ChipFound
    | StubRunning
    | Interrupted
    | Erasing
    | Writing
    | Skipped
    | Comparing
    | Verifying
    | Verified
    | Reading
    | Retrying
    | Resetting
    | Log
)
"""What a caller's `on_event` gets."""


class ResetAsked(msgspec.Struct, frozen=True, tag="reset-asked"):
    """The worker waits for the board's owner to reset it; `cold`: by taking its power away."""

    download: bool
    cold: bool = False


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The end, well. `data`: what was read. `verified`, `skipped`: regions, counted."""

    info: ChipInfo | None = None
    data: bytes = b""
    written: int = 0
    skipped: int = 0
    verified: int = 0
    sent: int = 0
    """Bytes that were written; what was there already is left alone."""
    retries: int = 0
    baud: int = 0


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The end, badly: what was raised, and at which step. `kind` where the worker knows itself."""

    step: str
    text: str
    exception: str = ""
    errno: int | None = None
    kind: str = ""


Up = Event | ResetAsked | Done | Failed

_encoder = msgspec.msgpack.Encoder()
_down = msgspec.msgpack.Decoder(Down)
_up = msgspec.msgpack.Decoder(Up)


def pack(message: Down | Up) -> bytes:
    """One message as it goes through the pipe. Raises `ValueError` above `MAX_MESSAGE`."""
    body = _encoder.encode(message)
    if len(body) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(body)} bytes; at most {MAX_MESSAGE} are allowed")
    return LENGTH.pack(len(body)) + body


def body_length(prefix: bytes) -> int:
    """The length of the body behind a prefix. Raises `ValueError` above `MAX_MESSAGE`."""
    (length,) = LENGTH.unpack(prefix)
    if length > MAX_MESSAGE:
        raise ValueError(f"a message of {length} bytes; at most {MAX_MESSAGE} are allowed")
    return int(length)


def unpack_down(body: bytes) -> Down:
    """A message for the worker. Raises `msgspec.DecodeError`."""
    message: Down = _down.decode(body)
    return message


def unpack_up(body: bytes) -> Up:
    """A message from the worker. Raises `msgspec.DecodeError`."""
    message: Up = _up.decode(body)
    return message
