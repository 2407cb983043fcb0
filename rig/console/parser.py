"""Bytes of a serial port -> events: log lines, boots, applications, sockets, crashes. Sans-I/O.

One pass, at more than 20 MB/s on one core (`benchmarks/console_throughput.py`), so that neither a
flood nor an old log of a gigabyte is ever what the rig waits for. What makes it fast: a block of
bytes is split and decoded at once, a line that repeats the one before is only counted, the usual
log line takes one regular expression, and its event is filled slot by slot.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from rig.console.app import APP_TAGS, AppReader
from rig.console.crash import Began, CrashEvent, CrashReader, Finished, Reset, Warned
from rig.console.crash import loud as is_loud
from rig.console.crash.reader import CONTEXT
from rig.console.lines import Line, LineSplitter
from rig.console.records import Fields, quick
from rig.console.sockets import SOCKET_TAGS, SocketReader
from rig.history import Event
from rig.history.events import BoardWarned, Boot, Crash, CrashBegan, LogLine

FOLD = 10_000
"""A flood of one and the same line gives one event for so many lines."""

_BLOCK = 8192
"""Bytes that are asked about at once whether a crash may be in them."""

_TAGS = APP_TAGS | SOCKET_TAGS


class ConsoleParser:
    """Reads one board's console. The way its bytes are cut into chunks changes no event.

    Memory is bounded by the longest line, one crash, and the chunk given to `feed` (give it 64 KiB
    at a time). It never raises, whatever the board sends.

    The same line over and over (a C3 with a blank flash prints 95 KB/s of `invalid header:
    0xffffffff`, for ever) gives a `LogLine` for the first one at once, and for the further ones
    together a `LogLine` with `repeats`, every `FOLD` lines and when the run ends.
    """

    def __init__(self, board: str) -> None:
        self._board = board
        self._lines = LineSplitter()
        self._apps = AppReader(board)
        self._sockets = SocketReader(board)
        self._crashes = CrashReader()
        self._crash = 0
        self._last: str | None = None
        """The newest line, while it may be folded. None, not "": a blank line is no repeat."""
        self._last_line: LogLine | None = None
        self._repeats = 0
        self._first_repeat = (0, 0)
        self._repeat_t = 0

    @property
    def pending(self) -> bool:
        """Whether `settle` may give out something: call it when the port falls silent."""
        return self._lines.pending or self._repeats > 0 or self._apps.pending

    @property
    def crashing(self) -> bool:
        """Whether a crash has begun and may go on: `flush` when it is silent for long."""
        return not self._crashes.idle

    def feed(self, data: bytes, t: int) -> list[Event]:
        """The events that `data`, read at `t` (monotonic ns), completes."""
        if len(data) <= _BLOCK:
            return self._read(self._lines.feed(data), t)
        events: list[Event] = []
        for at in range(0, len(data), _BLOCK):
            events += self._read(self._lines.feed(data[at : at + _BLOCK]), t)
        return events

    def settle(self, t: int) -> list[Event]:
        """The torn line and the flood so far: the port is silent. A crash stays open."""
        events = self._read(self._lines.flush(), t)
        self._unfold(events)
        self._apps.end(events.append)
        return events

    def flush(self, t: int) -> list[Event]:
        """All that is held back, with the crash that is open: the log ended."""
        events = self.settle(t)
        self._tell(self._crashes.flush(), t, events)
        return events

    def _read(self, lines: Sequence[Line], t: int) -> list[Event]:
        events: list[Event] = []
        if not lines:
            return events
        crashes, board = self._crashes, self._board
        block = self._lines.block
        # Most blocks hold no word that matters to the crash reader: it is asked once for all.
        loud = not crashes.idle or b"\0" in block or is_loud(block)
        quiet: list[str] = []
        last = self._last
        for number, offset, raw in lines:
            if raw == last:
                self._repeat(number, offset, t, events)
                if loud and not crashes.idle and (told := crashes.feed(number, raw)):
                    self._unfold(events)
                    self._tell(told, t, events)
                continue
            fields = quick(raw)
            if not fields[0]:  # blank, or nothing but colours
                if loud and not crashes.idle:
                    self._tell(crashes.feed(number, raw), t, events)
                continue
            if self._repeats:
                self._unfold(events)
            line = _log_line(t, board, number, offset, fields)
            events.append(line)
            # Only a line that means nothing else may be folded: two resets are two resets.
            last, self._last_line = raw, line
            if fields[2] in _TAGS and self._known(line, events):
                last = None
            if not loud:
                quiet.append(raw)
            elif told := crashes.feed(number, raw):
                self._tell(told, t, events)
                last = None
        self._last = last
        for raw in quiet[-CONTEXT:]:
            crashes.note(raw)
        return events

    def _known(self, line: LogLine, events: list[Event]) -> bool:
        """A record of a component whose words mean something to the rig: whether these do."""
        if line.component in SOCKET_TAGS:
            if (seen := self._sockets.read(line)) is None:
                return False
            events.append(seen)
            return True
        return self._apps.read(line, events.append)

    def _tell(self, told: Sequence[CrashEvent], t: int, events: list[Event]) -> None:
        """What the crash reader says, as events of the history."""
        board = self._board
        for said in told:
            match said:
                case Began(kind, line, text):
                    self._crash += 1
                    events.append(
                        CrashBegan(
                            t=t, board=board, crash=self._crash, kind=kind, line=line, text=text
                        )
                    )
                case Finished(record):
                    events.append(Crash(t=t, board=board, crash=self._crash, record=record))
                case Reset():
                    self._apps.end(events.append)
                    events.append(_boot(said, board, t))
                case Warned(kind, line, text, task, trace):
                    events.append(
                        BoardWarned(
                            t=t,
                            board=board,
                            warning=kind,
                            line=line,
                            text=text,
                            task=task,
                            backtrace=trace,
                        )
                    )

    def _repeat(self, number: int, offset: int, t: int, events: list[Event]) -> None:
        if not self._repeats:
            self._first_repeat = (number, offset)
        self._repeats += 1
        self._repeat_t = t
        if self._repeats >= FOLD:
            self._unfold(events)

    def _unfold(self, events: list[Event]) -> None:
        if self._repeats and self._last_line is not None:
            number, offset = self._first_repeat
            events.append(
                replace(
                    self._last_line,
                    t=self._repeat_t,
                    line=number,
                    offset=offset,
                    repeats=self._repeats,
                )
            )
        self._repeats = 0


def _boot(reset: Reset, board: str, t: int) -> Boot:
    return Boot(
        t=t,
        board=board,
        line=reset.line,
        reset_code=reset.code,
        reset_name=reset.name or "",
        boot_code=reset.boot,
        boot_mode=reset.boot_mode,
        chip=reset.chip,
        silent=reset.silent,
    )


def _log_line(t: int, board: str, number: int, offset: int, fields: Fields) -> LogLine:
    """The event of one line."""
    text, level, component, message, device_ms, day_ms, task = fields
    return LogLine(
        t=t,
        board=board,
        text=text,
        line=number,
        offset=offset,
        level=level,
        component=component,
        message=message,
        device_ms=device_ms,
        task=task,
        day_ms=day_ms,
    )
