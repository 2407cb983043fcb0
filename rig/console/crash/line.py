"""A line as the reader's parts see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rig.console.crash.reader import CrashReader

Handler = Callable[["CrashReader", "Line"], bool]
"""Reads one form on a line and changes the reader; True when the form was there."""


@dataclass(frozen=True, slots=True)
class Line:
    """A clean line of the log, or the part of one that stands for a line.

    All of it follows from the text alone, so that a line which comes again is not read again.
    """

    text: str
    low: str
    """`text` in lower case, for cheap tests before a regular expression."""
    body: str
    """`text` without what log hosts and quoting put in front of it."""
    handlers: tuple[Handler, ...] = ()
    """The forms that may be on it, in the order in which they are read."""
    registers: tuple[tuple[str, str], ...] = ()
    """Registers with the values printed for them."""
    traced: str | None = None
    """What stands behind `Backtrace:`."""
    frames: tuple[str, ...] = ()
    """Program counters of a backtrace."""
    stack: tuple[int, tuple[int, ...]] | None = None
    """A line of stack memory: its address, its words."""
