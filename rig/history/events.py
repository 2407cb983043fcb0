"""Event types: everything that happens, as frozen data on one clock.

Four kinds of actor write events (board, server, faults, runner); nobody judges here. Checks read
them later. A new kind of event is one more class below: its snake-case name is its tag on disk.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

import msgspec

from rig.history.crash import CrashRecord

Sender = Literal["server", "device"]
Opcode = Literal["text", "binary", "continuation", "ping", "pong", "close"]
SocketOp = Literal["opened", "upgraded", "closed", "lost", "stalled", "send_failed", "refused"]

EVENT_TYPES: dict[str, type[Event]] = {}
"""Every event class by its tag."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at `t` (monotonic nanoseconds, read when the rig saw it)."""

    tag: ClassVar[str] = "event"
    t: int


def _event[E: type[Event]](cls: E) -> E:
    cls.tag = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
    EVENT_TYPES[cls.tag] = cls
    return cls


# -- the run ------------------------------------------------------------------------------------


@_event
class RunStarted(Event, frozen=True, kw_only=True):
    """A run began; `wall` (ISO 8601, UTC) anchors the monotonic clock to the calendar."""

    wall: str
    rig_version: str
    seed: int
    plan: dict[str, Any] = {}


@_event
class RunEnded(Event, frozen=True, kw_only=True):
    """A run ended: `done`, `interrupted`, or why not."""

    outcome: str


@_event
class ScenarioStarted(Event, frozen=True, kw_only=True):
    """A scenario began. `checks` judge it; those `required` must come to a decision."""

    scenario: str
    params: dict[str, Any] = {}
    checks: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    needs_fault: bool = False
    """Whether a fault has to be seen for the scenario to count."""


@_event
class ScenarioEnded(Event, frozen=True, kw_only=True):
    """A scenario ended: `done`, `aborted` (why in `reason`), `lacking` (what in `reason`)."""

    scenario: str
    outcome: Literal["done", "aborted", "lacking"]
    reason: str | None = None


@_event
class CycleStarted(Event, frozen=True, kw_only=True):
    """One repetition of a scenario began. `cycle` counts from 1."""

    scenario: str
    cycle: int


@_event
class CycleEnded(Event, frozen=True, kw_only=True):
    """One repetition of a scenario ended."""

    scenario: str
    cycle: int
    cut_short: str | None = None
    """Why it could not be played to its end; None: it was, or the device crashed in it."""


@_event
class Learned(Event, frozen=True, kw_only=True):
    """A fact measured on this device (hello delay, loop time, sessions), for schedules."""

    board: str
    name: str
    value: float
    unit: str


@_event
class Note(Event, frozen=True, kw_only=True):
    """A remark for the reader of the history; never evidence."""

    text: str


# -- the board ----------------------------------------------------------------------------------


@_event
class BoardDescribed(Event, frozen=True, kw_only=True):
    """What is under test: kind, chip, address and firmware as far as known."""

    board: str
    board_kind: str
    address: str | None = None
    chip: str | None = None
    firmware: dict[str, Any] = {}


@_event
class Flashed(Event, frozen=True, kw_only=True):
    """A bundle was written and verified, or not (`error`).

    `sha256`: of all that reached the flash; `elf_sha256`: of the ELF file its application was
    linked as; `sent`: bytes that had to be written, the rest was there already.
    """

    board: str
    bundle: str
    sha256: str
    seconds: float
    error: str | None = None
    firmware: str | None = None
    elf_sha256: str | None = None
    sent: int | None = None


@_event
class ResetAsked(Event, frozen=True, kw_only=True):
    """The rig itself reset the board: the boot that follows was asked for."""

    board: str
    how: Literal["reset", "download", "power-off", "power-on"]


@_event
class Talked(Event, frozen=True, kw_only=True):
    """The rig asked the device to queue `count` states by itself (a volume key held down)."""

    board: str
    count: int


# -- the console --------------------------------------------------------------------------------


@_event
class LogLine(Event, frozen=True, kw_only=True):
    """A line of the serial log, colours stripped. Blank lines make no event.

    `level` is one of E W I D V or None (not a log record); `device_ms` is the device's own time
    stamp; `line` is the 1-based line number and `offset` the byte offset of its start in the raw
    log beside the history. With `repeats` > 1 it stands for so many lines in a row with the very
    same text (a flood): `line` and `offset` are the first one's, `t` is the last one's.
    """

    board: str
    text: str
    line: int
    offset: int
    level: str | None = None
    component: str | None = None
    """The log tag (`sendspin.conn_mgr`, `wifi`)."""
    message: str | None = None
    device_ms: int | None = None
    task: str | None = None
    day_ms: int | None = None
    """Milliseconds since midnight, where the log is configured to print the system's time."""
    repeats: int = 1


@_event
class Boot(Event, frozen=True, kw_only=True):
    """The ROM printed its reset line: `rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)`."""

    board: str
    line: int
    reset_code: int
    reset_name: str
    boot_code: int | None = None
    boot_mode: str | None = None
    chip: str | None = None
    silent: bool = False
    """A watchdog or lock-up reset with no crash text before it."""


@_event
class AppStarted(Event, frozen=True, kw_only=True):
    """The application named itself in the boot log (`app_init` / `cpu_start` lines)."""

    board: str
    line: int
    project: str | None = None
    version: str | None = None
    elf_sha256: str | None = None
    idf: str | None = None


@_event
class CrashBegan(Event, frozen=True, kw_only=True):
    """The first line of a crash was read; its record follows in `Crash` with the same number."""

    board: str
    crash: int
    kind: str
    line: int
    text: str


@_event
class Crash(Event, frozen=True, kw_only=True):
    """A crash, complete (or as complete as the log is). `crash` counts from 1 on this console."""

    board: str
    crash: int
    record: CrashRecord


@_event
class BoardWarned(Event, frozen=True, kw_only=True):
    """Trouble in the log that is no crash: a task watchdog that goes on, a boot that fails.

    `warning` is `task_wdt`, `rtc_wdt` or `boot_failure`.
    """

    board: str
    warning: str
    line: int
    text: str
    task: str | None = None
    backtrace: tuple[str, ...] = ()


@_event
class SocketSeen(Event, frozen=True, kw_only=True):
    """The device's log told of a socket: opened on 57, upgraded, closed."""

    board: str
    op: SocketOp
    line: int
    fd: int | None = None
    device_ms: int | None = None
    errno: int | None = None
    """lwIP's error number, where the line names one (104: the peer reset it)."""


@_event
class ConsoleGap(Event, frozen=True, kw_only=True):
    """Bytes may be missing here: port vanished (`gone`), came back, was lent, or overran."""

    board: str
    reason: str
    gone: bool = False


# -- the link -----------------------------------------------------------------------------------


@_event
class ConnectionOpened(Event, frozen=True, kw_only=True):
    """A TCP connection to the device is up. `conn` is the rig's number for it, from 1.

    `server_id` and `epoch_us` are what this connection's own frames carry: a device frame that
    answers another connection's id or clock shows itself by them (invariant 9).
    """

    conn: int
    board: str
    server_id: str
    epoch_us: int
    local: str
    peer: str
    via: Literal["link", "direct"] = "link"
    dialled_by: Sender = "server"
    """Who opened it: with `device` the roles of the upgrade are exchanged (client-initiated)."""


@_event
class UpgradeAsked(Event, frozen=True, kw_only=True):
    """The server side sent its WebSocket upgrade request (complete on the wire)."""

    conn: int


@_event
class UpgradeAnswered(Event, frozen=True, kw_only=True):
    """The device answered the upgrade: 101, or a refusal."""

    conn: int
    status: int


@_event
class Frame(Event, frozen=True, kw_only=True):
    """A complete WebSocket frame crossed the link.

    `text` is the payload of a text frame (bounded; `size` is the true payload length in bytes),
    `head` the first 32 bytes of any other frame in hex (of a control frame all). `message` is the
    parsed JSON object of a text frame (absent when it is not one or too large), `type` its `type`
    field.

    With `sealed` it is no frame of its own: it is what was inside the binary frame with that event
    number (noise generation), as the rig's own server read or wrote it; `size` is the plaintext's.
    """

    conn: int
    sender: Sender
    opcode: Opcode
    size: int
    fin: bool = True
    masked: bool = False
    text: str | None = None
    head: str | None = None
    type: str | None = None
    message: dict[str, Any] | None = None
    close_code: int | None = None
    close_reason: str | None = None
    sealed: int | None = None


@_event
class SealBroken(Event, frozen=True, kw_only=True):
    """A binary frame of the device did not open on the rig's own noise channel.

    `frame` is that frame's event number; `lost` whether a fault kept earlier frames from the rig,
    so that none after them can open.
    """

    conn: int
    frame: int
    text: str
    lost: bool = False


@_event
class EarlyBytes(Event, frozen=True, kw_only=True):
    """The device sent something before its upgrade answer.

    `head` is hex (first 64 bytes); where the bytes parse as a WebSocket frame, `type` and
    `message` are as in `Frame`.
    """

    conn: int
    size: int
    head: str
    opcode: Opcode | None = None
    type: str | None = None
    message: dict[str, Any] | None = None


@_event
class WireError(Event, frozen=True, kw_only=True):
    """What one side sent is no WebSocket: the parser's words."""

    conn: int
    sender: Sender
    text: str


@_event
class TcpFin(Event, frozen=True, kw_only=True):
    """One side ended its half of the connection."""

    conn: int
    sender: Sender


@_event
class TcpReset(Event, frozen=True, kw_only=True):
    """One side reset the connection."""

    conn: int
    sender: Sender


@_event
class ConnectionClosed(Event, frozen=True, kw_only=True):
    """Both halves are gone; nothing more comes on this connection."""

    conn: int
    reason: str = ""


@_event
class ConnectFailed(Event, frozen=True, kw_only=True):
    """A connection to the device could not be made: the system's or the upgrade's words."""

    board: str
    server_id: str
    error: str


@_event
class Held(Event, frozen=True, kw_only=True):
    """From now on this connection is only waited on, and nothing disturbs the device.

    It ought to be greeted within `within_s` seconds of this event.
    """

    conn: int
    within_s: float


@_event
class Settled(Event, frozen=True, kw_only=True):
    """All of a scenario's connections are gone and the device had `after_s` seconds to notice."""

    board: str
    after_s: float


@_event
class LinkEffect(Event, frozen=True, kw_only=True):
    """What a link fault did to this connection, measured on its own socket: proof that it took.

    `fault` is the fault's name, `sender` whose bytes it met, `value` in `unit`:
    stall: 1 byte sent, acknowledged, no more; silence: bytes swallowed so far; closed_window:
    bytes unread while the window is zero; delay: ms; trickle: bytes/s; cut: bytes let through.
    """

    conn: int
    fault: str
    value: float
    unit: str
    sender: Sender | None = None


@_event
class ServerWarned(Event, frozen=True, kw_only=True):
    """The reference server complained in its own words (bounded), which may quote the device.

    `compliance`: it is about something the device did that the protocol does not allow. `conn` is
    there only where it cannot be another's.
    """

    server_id: str
    text: str
    compliance: bool = False
    conn: int | None = None


@_event
class FormatChosen(Event, frozen=True, kw_only=True):
    """An audio stream began in the format `given`, of those that the device `asked` for.

    `place` is that of `given` in `asked`, 0 the most wanted; None: it was not asked for.
    """

    conn: int
    asked: tuple[str, ...]
    given: str
    place: int | None


@_event
class AudioFared(Event, frozen=True, kw_only=True):
    """How audio fared on one connection over the last `seconds`, as seen where it leaves the rig.

    None: unknown, because the frames are sealed or the device does not tell. Times in ms unless
    named otherwise.
    """

    conn: int
    seconds: float
    chunks: int
    """Chunks that left for the device; where they are sealed and not told, frames of any kind."""
    late: int | None = None
    """Of these, chunks that left after the time at which they were to be heard."""
    lost: int | None = None
    """Chunks that are missing between those that left."""
    ahead_min_ms: float | None = None
    """How far ahead of its time the latest chunk left: no more than that can be buffered."""
    ahead_median_ms: float | None = None
    answer_median_ms: float | None = None
    """From a client/time to its server/time, at the rig's end: half of it bounds the error in the
    clock's offset that the rig caused."""
    answer_worst_ms: float | None = None
    clock_drift_ppm: float | None = None
    """How much faster the device's clock runs than this host's; needs a minute of exchanges."""
    clock_error_us: int | None = None
    """The last bound on its offset's error that the device's log told (verbose level)."""
    device_buffer_ms: float | None = None
    """What the device told of its buffer. No device tells it so far: unknown."""


# -- the air ------------------------------------------------------------------------------------


@_event
class Packet(Event, frozen=True, kw_only=True):
    """A TCP segment to or from the board, as the capture beside this history has it.

    `source` and `destination` are address:port; `flags` letters of F S R P A U E C; `length` bytes
    of payload. A `retransmission` was seen before; a `forged` one the rig made itself.
    """

    board: str
    source: str
    destination: str
    flags: str
    seq: int
    ack: int
    length: int
    window: int = 0
    retransmission: bool = False
    forged: bool = False


@_event
class AirFault(Event, frozen=True, kw_only=True):
    """A fault on packets began, is proven by what was counted for it, or is over.

    `counts` are packets (or what the name says) as the kernel and the air helper counted them.
    """

    board: str
    fault: str
    state: Literal["up", "proven", "over"]
    counts: dict[str, int] = {}
    why: str = ""


# -- faults -------------------------------------------------------------------------------------


@_event
class FaultAsked(Event, frozen=True, kw_only=True):
    """A fault was asked for. `id` joins it to its `FaultSeen`."""

    id: int
    fault: str
    conn: int | None = None
    params: dict[str, Any] = {}


@_event
class FaultSeen(Event, frozen=True, kw_only=True):
    """Proof that the fault took place: the events that show it."""

    id: int
    fault: str
    how: str
    evidence: tuple[int, ...] = ()


@_event
class FaultHealed(Event, frozen=True, kw_only=True):
    """A lasting fault was taken back."""

    id: int
    fault: str


@_event
class Unknown(Event, frozen=True, kw_only=True):
    """An event of a kind this version does not know (a newer rig wrote it)."""

    kind: str
    fields: dict[str, Any] = {}


class Entry(msgspec.Struct, frozen=True):
    """An event with its number in the history (1-based: its line in the file)."""

    n: int
    event: Event
