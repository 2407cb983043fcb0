"""Events of a console as lines for a terminal: coloured, filtered, what a board sends escaped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rig.console.printable import printable
from rig.errors import BenchError
from rig.history import Event
from rig.history.crash import CrashRecord
from rig.history.events import Boot, ConsoleGap, Crash, CrashBegan, LogLine

LEVELS = "NEWIDV"
"""Levels of a filter, each showing those before it too; N shows nothing."""

_COLOURS = {"E": "31", "W": "33", "I": "32", "D": "36", "V": "2"}
_BOOT, _CRASH, _RIG = "1;34", "1;31", "2"
_OFF = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which log records to show. What is no log record (a boot, a panic) is always shown."""

    levels: dict[str, str]
    """The least important level shown, by tag; `*` is every other tag."""

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Filter:
        """From `tag:level` texts, several also in one (`wifi:W *:E`); `tag` alone shows all of it.

        Without `*`, tags that are not named are hidden, as ESP-IDF's monitor does. Raises
        `BenchError`.
        """
        levels: dict[str, str] = {}
        for text in " ".join(texts).replace(",", " ").split():
            tag, colon, level = text.rpartition(":")
            if not colon:
                tag, level = text, "V"
            if not tag or level.upper() not in LEVELS or len(level) != 1:
                raise BenchError(
                    f"'{text}' is no filter: expected tag:level",
                    hint=f"level is one of {' '.join(LEVELS)}, for example wifi:W or '*:E'",
                )
            levels[tag] = level.upper()
        return cls(levels)

    def shows(self, line: LogLine) -> bool:
        """Whether to show this line."""
        if not self.levels or line.level is None or line.component is None:
            return True
        least = self.levels.get(line.component, self.levels.get("*", "N"))
        return LEVELS.index(line.level) <= LEVELS.index(least)


class View:
    """Turns events into lines. `colour`: with ANSI colours."""

    def __init__(self, only: Filter, *, colour: bool) -> None:
        self._only = only
        self._colour = colour
        self._crashing = False

    def lines(self, event: Event) -> list[str]:
        """What to print of an event; nothing of most that are not log lines."""
        match event:
            case LogLine():
                return self._log_line(event)
            case CrashBegan():
                self._crashing = True
                return [self._paint(f"-- crash {event.crash} begins: {event.kind}", _CRASH)]
            case Crash():
                self._crashing = False
                return [
                    self._paint(f"-- {line}", _CRASH) for line in summary(event.crash, event.record)
                ]
            case Boot():
                self._crashing = False
            case ConsoleGap():
                return [self._paint(f"-- {event.reason}", _RIG)]
        return []

    def _log_line(self, line: LogLine) -> list[str]:
        if not self._only.shows(line):
            return []
        text = printable(line.text)
        if line.repeats > 1:
            return [self._paint(f"-- {line.repeats} times more: {text}", _RIG)]
        if "rst:0x" in text:
            return [self._paint(text, _BOOT)]
        if line.level is None and self._crashing:
            return [self._paint(text, _CRASH)]
        return [self._paint(text, _COLOURS.get(line.level or ""))]

    def _paint(self, text: str, colour: str | None) -> str:
        return f"\x1b[{colour}m{text}{_OFF}" if self._colour and colour else text


def summary(number: int, record: CrashRecord) -> list[str]:
    """A crash in a few lines, without symbols: what, where, in which task and firmware."""
    place = [
        f"{name} {value}"
        for name, value in (
            ("core", record.core),
            ("task", record.task),
            ("pc", record.pc),
            ("address", record.excvaddr),
            ("firmware", record.firmware),
        )
        if value is not None
    ]
    reason = f" ({record.reason})" if record.reason else ""
    lines = [f"crash {number}: {record.kind}{reason}"]
    if record.assert_expr:
        lines.append(f"  {record.assert_expr} at {record.assert_file}:{record.assert_line}")
    if place:
        lines.append("  " + ", ".join(place))
    return [printable(line) for line in lines]
