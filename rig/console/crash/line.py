"""A line as the reader's parts see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """A clean line of the log, or the part of one that stands for a line."""

    number: int
    text: str
    low: str
    """`text` in lower case, for cheap tests before a regular expression."""
    body: str
    """`text` without what log hosts and quoting put in front of it."""
