"""A line as the reader's parts see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rig.console.crash.reader import CrashReader

Handler = Callable[["CrashReader", "Line"], bool]
"""Reads one form on a line and changes the reader; True when the form was there."""


_NONE: Mapping[str, str] = MappingProxyType({})


class Line(NamedTuple):
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
    registers: Mapping[str, str] = _NONE
    """Registers with the values printed for them."""
    traced: str | None = None
    """What stands behind `Backtrace:`."""
    frames: tuple[str, ...] = ()
    """Program counters of a backtrace."""
    stack: tuple[int, tuple[int, ...]] | None = None
    """A line of stack memory: its address, its words."""
