"""The crash reader: lines of a serial log in, crashes out. No I/O, no clock.

    reader = CrashReader()
    for number, text in enumerate(lines, 1):     # text without its line end
        for event in reader.feed(number, text):
            ...                                  # Began | Finished | Reset | Warned
    reader.flush()                               # the log ended, or fell silent: close what is open

`Began` comes at the first line that decides a crash, `Finished` with its record when the crash is
complete: at the next boot, when the log goes on, or at `flush`. Each `Began` is followed by exactly
one `Finished`. A task watchdog that does not abort is a `Warned`, not a crash.

Fast path: `matters(text)` says whether a line can begin anything; `loud(data)` says the same of a
whole chunk of bytes. While `reader.idle` holds, a chunk that is not `loud` may be skipped: hand its
last lines to `reader.note`, so that the next crash knows what was logged before it.
"""

from rig.console.crash.events import Began, CrashEvent, Finished, Reset, Warned
from rig.console.crash.reader import CrashReader
from rig.console.crash.text import clean, loud, matters

__all__ = [
    "Began",
    "CrashEvent",
    "CrashReader",
    "Finished",
    "Reset",
    "Warned",
    "clean",
    "loud",
    "matters",
]
