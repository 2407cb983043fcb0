"""The crash reader: a state machine over lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from rig.console.crash import bodies, forms, heads, watchdog
from rig.console.crash.draft import TEXT_LINES, Draft
from rig.console.crash.events import Began, CrashEvent, Finished, Reset, Warned
from rig.console.crash.line import Line
from rig.console.crash.prepare import prepare
from rig.console.crash.spoken import spoken_of
from rig.console.crash.text import LIKE, matters, ordinary, shown
from rig.console.crash.watchdog import Pending
from rig.history.crash import CrashRecord

CONTEXT = 20
"""Log lines kept from before a crash."""
GONE_ON = 3
"""So many ordinary log records after a crash's text, and the crash is over."""
CHECK_TO_ABORT = 12
"""ESP_ERROR_CHECK prints file, function and expression before it aborts."""
NESTED = 12
"""A panic in the panic handler comes within so many lines of its last word."""
QUIET = 200
"""So many lines of no known form, and it is over too."""
BANNER_TO_RESET = 8
"""The ROM prints its `rst:` line within so many lines after its banner."""
LONGEST = 8_192
"""Characters of a line that are read; the rest of a longer one is skipped."""

_CONTINUING = frozenset({"coredump", "heap_corruption"})


@lru_cache(LIKE)
def _uptime_in(text: str) -> int | None:
    """Milliseconds since boot, where a log record says them."""
    match = forms.UPTIME.search(text)
    return int(match["ms"]) if match else None


class CrashReader:
    """Reads crashes out of the lines of one console. Bounded memory, never raises on any text."""

    def __init__(self, *, context: int = CONTEXT) -> None:
        self.open: Draft | None = None
        """The crash that is being read."""
        self.pending: Pending | None = None
        """A task watchdog of which it is not known yet whether it aborts."""
        self.failure: int | None = None
        """Line of a bare `FAILURE`, whose place stands on the next line."""
        self._check: tuple[int, str, Line] | None = None
        """An ESP_ERROR_CHECK that failed: its line, its words. The abort follows."""
        self.last: CrashRecord | None = None
        """The newest complete crash."""
        self.same_boot = False
        """No boot was seen since `last`."""
        self.reported = False
        """A report of the boot before was read since the last reset."""
        self.number = 0
        """Of the line that is being read."""
        self.chip: str | None = None
        self.version: str | None = None
        self.boot_sha: str | None = None
        self.before: deque[str] = deque(maxlen=context)
        """The newest lines, as they came."""
        self._tail = False
        self._out: list[CrashEvent] = []
        self._boot_failure: str | None = None

    @property
    def idle(self) -> bool:
        """Whether no crash is open: a line that does not matter changes nothing."""
        return (
            self.open is None
            and self.pending is None
            and self.failure is None
            and self._check is None
        )

    @property
    def alone(self) -> bool:
        """Whether nothing but the open crash is awaited, and nothing special of that."""
        draft = self.open
        return not (
            draft is None
            or draft.open_line is not None
            or draft.dumping
            or draft.previous_boot
            or draft.decoded_only
            or self.pending is not None
            or self.failure is not None
            or self._check is not None
        )

    def note(self, text: str) -> None:
        """Remember a line that is known not to matter, as context of the next crash."""
        self.before.append(text)

    def feed(self, number: int, text: str) -> Sequence[CrashEvent]:
        """Read a line: its 1-based number, its text without the line end."""
        if self.idle and not matters(text):
            self.before.append(text)
            return ()
        told: list[CrashEvent] = []
        self.read(number, text, told)
        return told

    def read(self, number: int, text: str, told: list[CrashEvent]) -> None:
        """Read a line that may matter; its events are added to `told`."""
        self._out = told
        self.number = number
        for line in prepare(text if len(text) <= LONGEST else text[:LONGEST]):
            self._read(line)
        self.before.append(text)

    def flush(self) -> Sequence[CrashEvent]:
        """The log ended or fell silent: close what is open."""
        self._out = []
        self._close_check()
        self._close_pending()
        self._finish()
        self.failure = None
        return self._out

    # -- lines -----------------------------------------------------------------------------------

    def _read(self, line: Line) -> None:
        known = False
        draft = self.open
        if self.pending is not None:
            known = watchdog.untagged(self, line)
        if self.failure is not None:
            known = heads.failure_at(self, line) or known
            draft = self.open
        if draft is not None and draft.special:
            known = bodies.special(self, line) or known
        for handler in line.handlers:
            known = handler(self, line) or known
        if line.registers:
            known = bodies.registers(self, line) or known
        if line.stack is not None:
            known = bodies.stack(self, line) or known
        if line.traced is not None or (line.frames and not known):
            known = bodies.trace(self, line) or known
        if self._check is not None and self.number - self._check[0] > CHECK_TO_ABORT:
            self._close_check()
        draft = self.open
        if draft is not None and not draft.ended and len(draft.text) < TEXT_LINES:
            dumped = bool(draft.dump) and draft.dump[-1] is line.body
            if not dumped:
                draft.text.append(line.text)
        if not known:
            self._age(line)

    def _age(self, line: Line) -> None:
        """A line of no known form: a log that goes on ends a crash."""
        went_on = ordinary(line.text)
        if self.pending is not None:
            self.pending.age(went_on)
            if self.pending.over:
                self._close_pending()
        draft = self.open
        if draft is None:
            return
        if draft.booted:
            draft.booted += 1
            if draft.booted > BANNER_TO_RESET:
                self._finish()
            return
        if went_on:
            draft.went_on += 1
        else:
            draft.quiet += 1
        if draft.went_on >= GONE_ON or draft.quiet > QUIET:
            self._finish()

    # -- crashes ---------------------------------------------------------------------------------

    def crash(self, kind: str, line: Line, *, at: int | None = None) -> Draft:
        """Evidence of a crash on this line: of the open one, or of a new one that begins here.

        `at` is the line of its first evidence, where that came earlier.
        """
        if self.open is not None and not self._continues(self.open, kind):
            self._finish()
        spoken = (self.open is None or self.open.spoken) and spoken_of(line.text)
        if self.open is not None and self.open.spoken and not spoken:
            self._finish()  # the crash itself takes the place of what was said of it
        draft = self.open
        if draft is None:
            draft = self.begin(Draft(at or self.number, spoken=spoken))
            draft.witness(kind)
            if not spoken:
                self._out.append(Began(kind, draft.line, line.text))
        else:
            draft.witness(kind)
        return draft

    def headless(self, line: Line) -> Draft:
        """A crash's body without its head: ESP-IDF 3 aborts so after a failed check."""
        self._close_check()
        if self.open is not None and not self.open.ended and not self.open.previous_boot:
            return self.open
        return self.crash("panic", line)

    def begin(self, draft: Draft) -> Draft:
        """Open a draft, with what is known of the boot and the log before it."""
        draft.chip, draft.firmware, draft.elf = self.chip, self.version, self.boot_sha
        draft.before = shown(self.before)
        for text in reversed(draft.before):
            if "(" in text and (uptime := _uptime_in(text)) is not None:
                draft.uptime = uptime
                break
        self.open = draft
        return draft

    def _continues(self, draft: Draft, kind: str) -> bool:
        """Whether new evidence of `kind` belongs to the open crash."""
        if draft.previous_boot or draft.ended:
            return False
        if kind in _CONTINUING and (kind in draft.evidence or kind == "coredump"):
            return True
        if draft.evidence[-1] == "heap_corruption":
            return True  # found by a check: the program goes on until it trips over it
        if draft.quiet > NESTED:
            return False
        if draft.went_on:
            return not draft.body_done and draft.went_on < GONE_ON
        if draft.body_done and not draft.dumping:
            return kind == "abort" and draft.evidence[-1] == "task_wdt"
        return True

    def _finish(self) -> None:
        """Close the open crash and tell it."""
        draft, self.open = self.open, None
        if draft is None:
            return
        if draft.spoken and not draft.has_body:
            return
        record = draft.build()
        told = self.last.pc if self.last is not None else None
        if draft.previous_boot and record.pc is not None and record.pc == told:
            return  # its own text was in this log already
        if draft.previous_boot or draft.spoken:
            self._out.append(Began(record.kind, record.line, draft.text[0] if draft.text else ""))
        self.last = record
        self._tail = self.same_boot = True
        self._out.append(Finished(record))

    def flush_open(self) -> None:
        """Close the open crash: another begins, or its report is complete."""
        self._finish()

    def tell(self, event: CrashEvent) -> None:
        """Add an event to what `feed` returns."""
        self._out.append(event)

    def _close_pending(self) -> None:
        pending, self.pending = self.pending, None
        if pending is not None:
            self._out.append(pending.warning())

    def check_failed(self, words: str, line: Line) -> None:
        """ESP_ERROR_CHECK failed: the abort that follows is the crash, this is its reason."""
        self._close_check()
        if self.open is not None and not self.open.ended and not self.open.body_done:
            self.open.weak_reason = self.open.weak_reason or words
        else:
            self._check = (self.number, words, line)

    def why(self) -> str | None:
        """The words of the ESP_ERROR_CHECK that failed just before, if one did."""
        check, self._check = self._check, None
        return None if check is None else check[1]

    def _close_check(self) -> None:
        """The abort was not printed: the failed check is all there is of the crash."""
        check, self._check = self._check, None
        if check is not None:
            draft = self.crash("abort", check[2], at=check[0])
            draft.weak_reason = draft.weak_reason or check[1]

    def watchdog(self, pending: Pending) -> Pending:
        """A task watchdog was triggered: it is a warning until it aborts."""
        self._close_pending()
        self.pending = pending
        return pending

    # -- boots -----------------------------------------------------------------------------------

    def banner(self, chip: str | None) -> None:
        """The ROM's banner: whatever was open has ended."""
        self._close_check()
        self._close_pending()
        self.chip = chip
        self.same_boot = False
        if self.open is not None:
            self.open.ended = True
            self.open.booted = 1
            self.open.chip = self.open.chip or chip

    def ends(self) -> None:
        """The panic handler's last word."""
        if self.open is not None:
            self.open.ended = True
        self._tail = True

    def boot_failed(self, text: str) -> None:
        """The ROM or the boot loader could not start the application; a flood is told once."""
        if self._boot_failure != text:
            self._boot_failure = text
            self._out.append(Warned("boot_failure", self.number, text))

    def reset(
        self, code: int, name: str | None, boot: int | None, mode: str | None, line: Line
    ) -> None:
        """The ROM's reset line: it completes the crash before it."""
        self._close_check()
        crashed = self.open is not None or self._tail
        if self.open is not None:
            self.open.reset_reason = name
        self._close_pending()
        self._finish()
        watched = name is not None and forms.WATCHDOG_RESET.search(name) is not None
        silent = watched and not crashed
        self._out.append(Reset(self.number, code, name, boot, mode, self.chip, crashed, silent))
        if name is not None and "RTCWDT" in name.upper():
            self._out.append(Warned("rtc_wdt", self.number, line.text))
        self._tail = self.same_boot = self.reported = False
        self.version = self.boot_sha = self._boot_failure = None
