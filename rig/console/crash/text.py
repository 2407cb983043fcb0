"""A line of a log as people and hosts hand it on: colours, prefixes, quoting, escapes.

Logs reach us through terminals, log hosts, issue trackers and word processors. What each adds is
taken off here, once, so that the forms of `forms.py` describe only what the chip prints.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

REMEMBERED = 8192
"""Crash loops print the same lines for hours: what follows from a text is worked out once."""
SHORT = 512
"""Longer lines are not remembered."""
LIKE = 256
"""So many lines of one form are remembered, of any length that is read."""
BEFORE = 1024
"""Characters kept of a longer line from before a crash."""

_COLOUR = re.compile(
    r"(?:\x1b|\x9b|␛|←|\\x1b|\\u001b|\\u241b|\\033|\\e|#033|ESC|\^\[)\[[0-9;?]*[A-Za-z]"
    r"|\[(?:[0-9]{1,3};)*[0-9]{1,3}m"  # the escape character itself was lost on the way
    r"|\x1b[@-Z\\-_]",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"</?(?:span|font|div|pre|code|p|b|i|em|li|td|tr|br)\b[^<>]{0,200}>|<(?:CR|LF|CRLF)>|\[0[AD]\]|[␍␊]",
    re.IGNORECASE,
)
"""HTML around a log, and line ends that a terminal program wrote out."""
_ESCAPED = re.compile(r"\\([_*])")
"""Markdown's escapes, of what occurs in names."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "´": "'", "“": '"', "”": '"', "\xa0": " "})

_STAMP = r"\d{1,2}:\d{2}:\d{2}(?:[.,:]\d{1,9})?"
_DATE = (
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}(?:[-/.]\d{2,4})?|[A-Z][a-z]{2} +\d{1,2})"
)
_SYSLOG = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
_PREFIX = re.compile(
    r"\s*(?:"
    r">+|\|(?=\s)|`{1,3}|[*-](?=\s)"  # Markdown
    r"|--+>|\d{10}\.\d{3,9}(?=\s)|\[ *\d+\.\d{3,9}\]"  # PlatformIO, serial loggers, dmesg
    rf"|(?:{_SYSLOG}|\d{{4}}-\d\d-\d\dT{_STAMP}\S*) [\w.-]+ [\w.@/-]+(?:\[\d+\])?:(?=\s)"
    r"|[A-Za-z][\w.-]* *\|(?=\s)"  # docker compose
    rf"|\[?(?:{_DATE}[ T]+)?{_STAMP}(?:Z|[+-]\d\d:?\d\d)?\]?(?:\s*->)?"  # log hosts, IDEs
    rf"|\[{_DATE}[^\]]*\]"
    r"|(?:INFO|WARNING|ERROR|DEBUG)(?=\s)"  # the esphome command line
    r"|\[(?:[EWIDVC]|VV)\]\[esp-idf:\d+\](?:\[[^\]]*\])?:"  # ESPHome, of what ESP-IDF logs
    r"|[收发][←→]◆?"  # terminal programs
    r"|\((?:MainThread|Thread-\d+)\)|\[[a-z_]+(?:\.[a-z_0-9]+)+\]"  # Home Assistant
    r")"
)

_NEEDLES = (
    "guru med", "panic", "abort() was", "called at pc", "assert", "stack overflow in", "canary",
    "smashing", "corrupt heap", "brownout det", "watchdog got", "task_wdt", "tasks currently",
    "crash detected", "esp32.crash", "dump", "ktrace", "decoding stack", "mepc", "exc", "mcause",
    "terminate c", "process ended",
    "error_check f", "sanitizer", "runtime err", "undefined behav", "fatal e", "rst:0x", "esp-rom:",
    "ets j", "rebooting", "elf file", "app version", "failure", "flash read", "csum err",
    "invalid head", "bootable", "checksum fail", "protection fault", "wdt timeout",
)  # fmt: skip
"""Every form that can begin something holds one of these, in lower case."""

_BYTE_NEEDLES = tuple(needle.encode() for needle in _NEEDLES)

_any_needle: Callable[[bytes], object] | None = None
"""All needles in one pass, where RE2 is installed (it has no wheels for every platform)."""
_each_needle: Callable[[bytes], Iterator[Any]] | None = None
try:
    import re2
except ImportError:
    pass
else:
    # Its patterns cannot blow up either, whatever a board sends.
    _pattern = re2.compile(b"(?i)" + b"|".join(map(re.escape, _BYTE_NEEDLES)))
    _any_needle, _each_needle = _pattern.search, _pattern.finditer

_ORDINARY = re.compile(
    r"(?:^|[^\w])[EWIDV] ?\((?:\d+|\d\d:\d\d:\d\d\.\d{3})\) "
    r"(?!task_wdt|esp_core_dump|Detected|CRASH)[\w.\-]+:"  # ESP-IDF
    r"|\[(?:[EWIDVC]|VV)\]\[(?!esp32\.crash|esp-idf:)[\w.\-]+:\d+\]"  # ESPHome
    r"|\[ *\d+\]\[[EWIDV]\]\[[^\]]+:\d+\]"  # Arduino
)


def matters(text: str) -> bool:
    """Whether a line can begin a crash, a boot or a warning (may say yes too often)."""
    return _matters(text) if len(text) <= SHORT else _holds_needle(text)


def _holds_needle(text: str) -> bool:
    if _any_needle is not None:
        return _any_needle(text.encode("utf-8", "replace")) is not None
    return any(map(text.lower().__contains__, _NEEDLES))


_matters = lru_cache(REMEMBERED)(_holds_needle)


def loud(data: bytes) -> bool:
    """Whether any line of these bytes may matter: 500 MB/s with RE2, a tenth of it without."""
    if _any_needle is not None:
        return _any_needle(data) is not None
    return any(map(data.lower().__contains__, _BYTE_NEEDLES))


def needles_at(data: bytes, limit: int) -> list[int] | None:
    """Where lines may matter, in order; None where that is at more than `limit` places."""
    marks: list[int] = []
    if _each_needle is not None:
        for match in _each_needle(data):
            marks.append(match.start())
            if len(marks) > limit:
                return None
        return marks
    low = data.lower()
    for needle in _BYTE_NEEDLES:
        at = low.find(needle)
        while at >= 0:
            marks.append(at)
            if len(marks) > limit:
                return None
            at = low.find(needle, at + 1)
    return sorted(marks)


_RECORDED = ("log", "message", "MESSAGE", "msg", "line")
"""Under which name log hosts keep a line: Docker, journald, Loki and others."""
_BYTES = {quote: re.compile(rf"\bb{quote}(?P<line>.*?)(?:\\r|\\n)*{quote}\)?$") for quote in "'\""}
"""A line as Python shows its bytes, by the quote at its end: the first such `b'` begins it."""


def unwrapped(text: str) -> str:
    """The line itself, where a host keeps it in a JSON object or as Python shows bytes."""
    if text.endswith(("'", '"', "')", '")')) and (
        match := _BYTES[text.rstrip(")")[-1]].search(text)
    ):
        return match["line"]
    if text.startswith('{"') and text.endswith("}"):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            return text
        for name in _RECORDED:
            if isinstance(record, dict) and isinstance(record.get(name), str):
                line: str = record[name]
                # JSON can spell halves of characters, which nothing can write.
                return line.rstrip("\r\n").encode("utf-8", "replace").decode()
    return text


def clean(text: str) -> str:
    """A line without colours (in any spelling), control characters and HTML entities."""
    if "[" in text or "\x1b" in text or "\x9b" in text:
        text = _COLOUR.sub("", text)
    if "<" in text or "[0" in text or "␊" in text or "␍" in text:
        text = _MARKUP.sub("", text)
    if "\\" in text:
        text = _ESCAPED.sub(r"\1", text)
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = text.translate(_QUOTES)
    if '\\"' in text or "\\'" in text:
        text = text.replace('\\"', '"').replace("\\'", "'")
    return _CONTROL.sub("", text).rstrip()


def shown(lines: Iterable[str]) -> tuple[str, ...]:
    """Raw lines as a terminal shows them: what a carriage return overwrote is gone."""
    return tuple([_shown(text) if len(text) <= SHORT else _show(text[:BEFORE]) for text in lines])


def _show(text: str) -> str:
    if _PLAIN(text):
        return text.rstrip()
    return clean(text.rstrip("\r").rpartition("\r")[2])


_PLAIN = re.compile(r"[ !-%'-;=-Z\]-~]*+").fullmatch
"""A line of which nothing has to be taken off."""
_shown = lru_cache(REMEMBERED)(_show)


def body(text: str) -> str:
    """A clean line without what log hosts and quoting put in front of it."""
    at = 0
    while match := _PREFIX.match(text, at):
        at = match.end()
    return text[at:].strip()


_DIGITS = re.compile(r"[0-9]")


def without_lead(text: str, lead: str) -> str | None:
    """A clean line without what stood before the last one, where that is the same but for digits.

    Hosts have more ways to mark a line than can be listed; a dump's lines are marked alike.
    """
    if not lead or _DIGITS.sub("0", text[: len(lead)]) != _DIGITS.sub("0", lead):
        return None
    return text[len(lead) :].strip()


@lru_cache(1024)
def ordinary(text: str) -> bool:
    """Whether a clean line is a log record of running firmware (not of its crash)."""
    return _ORDINARY.search(text) is not None


def bracketed(text: str, start: int) -> str | None:
    """What stands between the parenthesis at `start` and its partner; to the end if torn."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == "(":
            depth += 1
        elif text[at] == ")":
            depth -= 1
            if depth == 0:
                return text[start + 1 : at]
    return text[start + 1 :] or None
