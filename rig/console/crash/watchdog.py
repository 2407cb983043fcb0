"""The task watchdog: an event that is a crash only if it aborts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rig.console.crash import forms
from rig.console.crash.events import Warned
from rig.console.crash.line import Handler, Line

if TYPE_CHECKING:
    from rig.console.crash.reader import CrashReader

_QUIET = 60
_WENT_ON = 2


@dataclass(slots=True)
class Pending:
    """A task watchdog that was triggered; whether it aborts is not known yet."""

    line: int
    text: str
    task: str | None = None
    backtrace: list[str] = field(default_factory=list)
    quiet: int = 0
    went_on: int = 0
    printing: bool = False
    """It prints what the processors were doing: on RISC-V the registers, which are no panic's."""

    def age(self, went_on: bool) -> None:
        """Another line came that is no part of it."""
        if went_on:
            self.went_on += 1
        else:
            self.quiet += 1

    @property
    def over(self) -> bool:
        """The log went on: it did not abort."""
        return self.went_on >= _WENT_ON or self.quiet > _QUIET

    def warning(self) -> Warned:
        """What it was, when it did not abort."""
        return Warned("task_wdt", self.line, self.text, self.task, tuple(self.backtrace))


def _tagged(reader: CrashReader, line: Line) -> bool:
    """A line of ESP-IDF's `task_wdt.c`."""
    if forms.WDT_HEAD.search(line.text):
        if reader.open is not None and reader.open.body_done:
            reader.open.went_on += 1
        reader.watchdog(Pending(reader.number, line.text))
        return True
    match = forms.WDT_LINE.search(line.text) or forms.WDT_LINE.search(line.body)
    if match is None:
        return False
    fatal = reader.open is not None and "task_wdt" in reader.open.evidence
    pending = reader.pending
    if pending is None and not fatal:
        pending = reader.watchdog(Pending(reader.number, line.text))
    if match["task"] and pending is not None and pending.task is None:
        pending.task = match["task"].strip()
    if pending is not None and "print cpu" in line.low:
        pending.printing = True
    if match["abort"] and pending is not None:
        _aborts(reader, line, pending)
    return True


def untagged(reader: CrashReader, line: Line) -> bool:
    """The lines under `Task watchdog got triggered` as ESP-IDF 3 prints them, without a tag."""
    pending = reader.pending
    if pending is None or not (match := forms.WDT_BARE.match(line.body)):
        return False
    if match["abort"]:
        _aborts(reader, line, pending)
    elif match["task"] and pending.task is None:
        pending.task = match["task"].strip()
    return True


def _aborts(reader: CrashReader, line: Line, pending: Pending) -> None:
    reader.pending = None
    draft = reader.crash("task_wdt", line, at=pending.line)
    draft.task = draft.task or pending.task
    draft.backtrace = draft.backtrace or pending.backtrace


TABLE: tuple[tuple[tuple[str, ...], Handler], ...] = (
    (("task_wdt", "watchdog got", "tasks currently"), _tagged),
)
