"""A raw line -> clean lines, each with the forms that may be on it. Pure, and remembered.

Crash loops print the same lines for hours: what follows from a line's text is worked out once.
"""

from __future__ import annotations

from functools import lru_cache

from rig.console.crash import bodies, boots, chips, forms, heads, watchdog
from rig.console.crash.line import Handler, Line
from rig.console.crash.text import REMEMBERED, SHORT, body, clean

_GATES: tuple[tuple[tuple[str, ...], Handler], ...] = (
    *boots.TABLE,
    *watchdog.TABLE,
    *heads.TABLE,
    *bodies.TABLE,
)


def prepare(text: str) -> tuple[Line, ...]:
    """The lines that a raw line holds (several where line ends were lost)."""
    return _remembered(text) if len(text) <= SHORT else _prepare(text)


def _prepare(text: str) -> tuple[Line, ...]:
    # A carriage return inside is a progress bar's, or a lost line feed.
    return tuple(_line(part) for piece in text.split("\r") for part in _parts(clean(piece)))


_remembered = lru_cache(REMEMBERED)(_prepare)


def _parts(text: str) -> list[str]:
    """A line, cut where another line was glued to it."""
    if "\\n" in text and ("\\r\\n" in text or text.lstrip().startswith("{")):
        text = text.replace("\\r\\n", "\n").replace("\\n", "\n")
    parts = text.split("\n") if "\n" in text else [text]
    low = text.lower()
    if "rst:" in low or "esp-rom" in low or "ets " in low:
        parts = [cut for part in parts for cut in forms.BOOT_SPLIT.split(part) if cut]
    return parts


def _line(text: str) -> Line:
    low = text.lower()
    handlers = []
    for needles, handler in _GATES:
        for needle in needles:
            if needle in low:
                handlers.append(handler)
                break
    registers: tuple[tuple[str, str], ...] = ()
    frames: tuple[str, ...] = ()
    traced = None
    if "0x" in low and ":" in low:
        found = ((name.upper(), value) for name, value in forms.REGISTER.findall(text))
        registers = tuple(pair for pair in found if pair[0] in chips.REGISTERS)
    if "backtrace:" in low and (head := forms.BACKTRACE.search(text)):
        traced = text[head.end() :]
    if "0x" in low:
        frames = tuple(bodies.frames_of(text if traced is None else traced))
    stack = None
    if ": 0x" in low and (dump := forms.STACK_LINE.search(text)):
        words = tuple(int(word, 16) for word in forms.WORD.findall(dump["words"]))
        stack = (int(dump["at"], 16), words)
    return Line(text, low, body(text), tuple(handlers), registers, traced, frames, stack)
