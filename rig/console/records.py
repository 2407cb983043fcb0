"""A line of text -> a log record: level, tag, message, the device's own time. Sans-I/O.

Formats (ESP-IDF `esp_log`, ESPHome `logger`, Arduino `esp32-hal-log`), each perhaps coloured and
behind the prefix of a log host:

* ESP-IDF: `I (1234) wifi: connected`, the WiFi library's `I (1234) wifi:state: init -> auth`
  without the space, and with system time `I (12:34:56.789) wifi: connected`
* ESPHome: `[D][sensor:094]: 'Room': Sending state`; what ESP-IDF logs below it comes as
  `[D][esp-idf:000][httpd]: I (6761115) sendspin.conn_mgr: ...`: there the inner record counts,
  for the outer level is the build's
* Arduino: `[ 29135][E][WiFiClient.cpp:347] connect(): error`
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Record(NamedTuple):
    """One line. All but `text` are None where the line is no log record."""

    text: str
    """The line, colours stripped."""
    level: str | None = None
    """E W I D V. ESPHome's C (configuration) is I, its VV is V."""
    component: str | None = None
    message: str | None = None
    device_ms: int | None = None
    """Milliseconds since boot, as printed."""
    day_ms: int | None = None
    """Milliseconds since midnight, where the log is configured to print the system's time."""
    task: str | None = None
    """The task that logged, where ESPHome names it: always other than its main task."""


_ESCAPE = r"(?:\x1b|\\x1[bB]|\\033|\\e|\u241b|\^\[)"
_COLOUR = re.compile(
    rf"{_ESCAPE}\[[0-9;:?]*[A-Za-z]"
    # Lost its escape character: only the shapes that ESP-IDF and ESPHome print.
    r"|\[(?:0|[01];3[0-7])m"
)
_PREFIX = re.compile(
    r"(?:>[ ]?"
    r"|\[\d\d:\d\d:\d\d(?:\.\d{1,6})?\][ ]?"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?[ \t]+"
    r"|\d\d:\d\d:\d\d(?:\.\d{1,6})?[ ](?:->[ ]|>[ ])?"
    r"){0,4}"
)

# No bracket: nothing that could be a colour, in whatever spelling, but the one at the end.
_IDF_LINE = re.compile(
    r"(?:\x1b\[[0-9;]*m)?"
    r"(([EWIDV]) \(([0-9]{1,10})\) ([^:\[]{1,64}): ?([^\[]*))"
    r"(?:\x1b\[0m)?"
).fullmatch
"""ESP-IDF's usual line in one go: text, level, ms, tag, message."""

_ESPHOME_LINE = re.compile(
    r"(?:\x1b\[[0-9;]*m)?"
    r"(\[(E|W|I|C|D|VV|V)\]\[([^\]\[:]{1,64}):[0-9]{1,5}\](?:\[([^\]\[]{1,32})\])?: ([^\[]*))"
    r"(?:\x1b\[0m)?"
).fullmatch
"""ESPHome's usual line in one go: text, level, component, task, message."""

_IDF = re.compile(
    r"(?<![A-Za-z0-9_])([EWIDV]) "
    r"\((?:(\d{1,10})|(?:\d{2,4}-\d\d-\d\d )?(\d\d):(\d\d):(\d\d)\.(\d{3}))\) "
    r"([^:]{1,64}): ?(.*)",
    re.S,
)
_ESPHOME = re.compile(
    r"\[(E|W|I|C|D|VV|V)\]\[([^\]\[:]{1,64})(?::\d{1,5})?\](?:\[([^\]\[]{1,32})\])?: ?(.*)", re.S
)
_ARDUINO = re.compile(r"\[ {0,9}(\d{1,10})\]\[([EWIDV])\]\[([^\]\[:]{1,64}):\d{1,5}\] ?(.*)", re.S)
_LEVELS = {"C": "I", "VV": "V"}


def strip_colours(text: str) -> str:
    """Without colours, in any spelling log hosts leave: `ESC[`, `\\x1b[`, `\\033[`, `^[[`."""
    return _COLOUR.sub("", text) if "[" in text else text


Fields = tuple[str, str | None, str | None, str | None, int | None, int | None, str | None]
"""The fields of a `Record`, in its order, as a plain tuple."""


def quick(raw: str) -> Fields:
    """As `read`, at a third of its time for the lines that are most of a log."""
    if match := _IDF_LINE(raw):
        text, level, ms, tag, message = match.groups()
        return text, level, tag, message, int(ms), None, None
    if "[" not in raw and ") " not in raw:  # neither coloured nor a record: most of a panic
        return raw, None, None, None, None, None, None
    if match := _ESPHOME_LINE(raw):
        text, level, tag, task, message = match.groups()
        if message[1:3] != " (":
            return text, _LEVELS.get(level, level), tag, message, None, None, task
        if match := _IDF_LINE(message):
            _, level, ms, tag, message = match.groups()
            return text, level, tag, message, int(ms), None, task
    return read(raw)


def read(text: str) -> Record:
    """Read one line (without its end). Never raises; an unknown line is a `Record(text)`."""
    text = strip_colours(text)
    if "[" in text:
        start = _PREFIX.match(text)
        at = start.end() if start else 0
        if match := _ESPHOME.match(text, at):
            level, component, task, message = match.groups()
            if inner := _IDF.match(message):
                return _idf(text, inner, task)
            return Record(text, _LEVELS.get(level, level), component, message, task=task)
        if match := _ARDUINO.match(text, at):
            ms, level, component, message = match.groups()
            return Record(text, level, component, message, int(ms))
    # Searched, not matched: a prefix, noise or the torn end of another line may stand before it.
    if ") " in text and (match := _IDF.search(text)):
        return _idf(text, match, None)
    return Record(text)


def _idf(text: str, match: re.Match[str], task: str | None) -> Record:
    level, ms, hours, minutes, seconds, millis, tag, message = match.groups()
    if ms is not None:
        return Record(text, level, tag, message, device_ms=int(ms), task=task)
    day = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(millis)
    return Record(text, level, tag, message, day_ms=day, task=task)
