"""A raw line -> clean lines, each with the forms that may be on it. Pure, and remembered.

Crash loops print the same lines for hours: what follows from a line's text is worked out once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from rig.console.crash import bodies, boots, chips, forms, heads, watchdog
from rig.console.crash.line import Handler, Line
from rig.console.crash.text import REMEMBERED, SHORT, body, clean, unwrapped

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
    text = unwrapped(text)
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
    if (match := _ROW.fullmatch(text)) and chips.REGISTERS.issuperset(names := match.groups()[::2]):
        values = match.groups()[1::2]
        row = {n: v for n, v in zip(names, values, strict=True) if n is not None}
        return Line(text, text.lower(), body(text), registers=row)
    low = text.lower()
    if match := _TRACE.fullmatch(text):
        traced = match["frames"]
        frames = tuple(pair[:10] for pair in traced.split())
        return Line(text, low, body(text), traced=traced, frames=frames)
    registers: dict[str, str] = {}
    if "0x" in low and ":" in low:
        for name, value in forms.REGISTER.findall(text):
            if (name := name.upper()) in chips.REGISTERS:
                registers.setdefault(name, value)
    head = forms.BACKTRACE.search(text) if "backtrace:" in low else None
    rest = None if head is None else text[head.end() :]
    found: tuple[str, ...] = ()
    if "0x" in low:
        found = tuple(bodies.frames_of(text if rest is None else rest))
    stack = None
    if ": 0x" in low and (dump := forms.STACK_LINE.search(text)):
        words = tuple(int(word, 16) for word in forms.WORD.findall(dump["words"]))
        stack = (int(dump["at"], 16), words)
    return Line(text, low, body(text), _handlers(low), registers, rest, found, stack)


_NAME = r"([A-Z][A-Z0-9/]{0,8}) *+: (0x[0-9a-f]{8})"
_ROW = re.compile(rf"[0-9:., \[\]>|-]*+{_NAME}(?: ++{_NAME})?+(?: ++{_NAME})?+(?: ++{_NAME})?+ *+")
"""A row of registers as it is printed: nothing else can be on it."""
_TRACE = re.compile(
    r"[0-9:., \[\]>|-]*+Backtrace: ?(?P<frames>(?:0x[0-9a-f]{8}:0x[0-9a-f]{8}(?: ++|\Z))++)"
)
"""A backtrace as it is printed, in one piece."""

_EVERY = tuple((needle, handler) for needles, handler in _GATES for needle in needles)


def _by_each(low: str) -> tuple[Handler, ...]:
    """The forms of which a needle is on a line (in lower case)."""
    handlers: dict[Handler, None] = {}
    for needle, handler in _EVERY:
        if needle in low:
            handlers[handler] = None
    return tuple(handlers)


_handlers: Callable[[str], tuple[Handler, ...]] = _by_each
try:
    import re2
except ImportError:
    pass
else:
    # All needles in one pass: a line that was never seen before costs a fifth of it.
    _set = re2.Set.SearchSet()
    for _needle, _ in _EVERY:
        _set.Add(re2.escape(_needle))
    _set.Compile()

    def _by_set(low: str) -> tuple[Handler, ...]:
        return tuple(dict.fromkeys(_EVERY[n][1] for n in sorted(_set.Match(low) or ())))

    _handlers = _by_set
