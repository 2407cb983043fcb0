"""Many lines at once: the dumps that make up most of a crash, read in one step each.

What is read here is exactly what `CrashReader.feed` reads line by line; whatever is not printed
as ESP-IDF's panic handler prints it (a prefix, a torn row, a second dump) is left to it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from rig.console.crash.draft import STACK_LINES, TEXT_LINES, Draft
from rig.console.crash.events import CrashEvent
from rig.console.crash.reader import BANNER_TO_RESET, QUIET, CrashReader
from rig.console.crash.text import matters

_XTENSA = ["PC", "PS", *(f"A{n}" for n in range(16)), "SAR", "EXCCAUSE"]
_XTENSA += ["EXCVADDR", "LBEG", "LEND", "LCOUNT"]
_RISCV = ["MEPC", "RA", "SP", "GP", "TP", "T0", "T1", "T2", "S0/FP", "S1"]
_RISCV += [*(f"A{n}" for n in range(8)), *(f"S{n}" for n in range(2, 12))]
_RISCV += [*(f"T{n}" for n in range(3, 7)), "MSTATUS", "MTVEC", "MCAUSE", "MTVAL", "MHARTID"]


def _dump(names: Sequence[str]) -> tuple[Sequence[str], int, re.Pattern[str]]:
    """The names of a dump, its number of rows, and the form of all of them, four names a row."""
    rows = [
        " {0,2}".join(f"{name:<8}: (0x[0-9a-f]{{8}})" for name in names[at : at + 4])
        for at in range(0, len(names), 4)
    ]
    return names, len(rows), re.compile(r" *+\n".join(rows) + " *+")


_HEAD = re.compile(r"Core {1,2}(\d) register dump:")
_DUMPS = {"PC      : 0x": _dump(_XTENSA), "MEPC    : 0x": _dump(_RISCV)}
"""By the first twelve characters of their first row. Source: ESP-IDF `panic_arch.c`."""

_STACK_ROW = 8 + 1 + 8 * 11
_STACK = re.compile(r"(?:[0-9a-f]{8}:(?: 0x[0-9a-f]{8}){8} ?(?:\n|\Z))+")


def feed_lines(reader: CrashReader, number: int, lines: Sequence[str]) -> list[CrashEvent]:
    """The events of whole lines (without their ends), of which the first has `number`."""
    events: list[CrashEvent] = []
    note, read = reader.before.append, reader.read
    at, end = 0, len(lines)
    while at < end:
        text = lines[at]
        draft = reader.open
        if draft is not None:
            took = 0
            if not text:
                took = _blank(reader, draft)
            elif text[8:12] == ": 0x":
                took = _rows(reader, draft, lines, at)
            elif text[-14:] == "register dump:":
                took = _headed(reader, draft, lines, at)
            if took:
                at += took
                continue
        elif reader.idle:
            while not matters(text):
                note(text)
                at += 1
                if at == end:
                    return events
                text = lines[at]
        read(number + at, text, events)
        at += 1
    return events


def _blank(reader: CrashReader, draft: Draft) -> int:
    """An empty line."""
    if draft.quiet >= QUIET or draft.booted >= BANNER_TO_RESET or not reader.alone:
        return 0
    draft.blank()
    reader.before.append("")
    return 1


def _headed(reader: CrashReader, draft: Draft, lines: Sequence[str], at: int) -> int:
    """`Core  0 register dump:` and the rows under it."""
    head = _HEAD.fullmatch(lines[at]) if at + 1 < len(lines) else None
    took = _rows(reader, draft, lines, at + 1, lines[at]) if head else 0
    if took and head and draft.core is None:
        draft.core = int(head[1])
    return took + 1 if took else 0


def _rows(
    reader: CrashReader, draft: Draft, lines: Sequence[str], at: int, head: str | None = None
) -> int:
    """How many lines from `at` were read as one dump, under its `head`; 0 where they are none."""
    if draft.ended or not reader.alone:
        return 0
    dump = _DUMPS.get(lines[at][:12])
    if dump is None:
        return 0 if head else _stack(reader, draft, lines, at)
    names, count, form = dump
    if draft.registers or draft.dumped:
        return 0
    rows = lines[at : at + count]
    match = form.fullmatch("\n".join(rows))
    if match is None:
        return 0
    draft.add_registers(dict(zip(names, match.groups(), strict=True)))
    _keep(reader, draft, rows if head is None else [head, *rows])
    return count


def _stack(reader: CrashReader, draft: Draft, lines: Sequence[str], at: int) -> int:
    end = at
    while end < len(lines) and _STACK_ROW <= len(lines[end]) <= _STACK_ROW + 1:
        end += 1
    rows = lines[at:end]
    joined = "\n".join(rows)
    if not rows or _STACK.fullmatch(joined) is None:
        return 0
    room = max(0, STACK_LINES - len(draft.stack))
    digits = joined.replace("0x", "").translate(_NO_SEPARATORS)
    numbers = struct.unpack(f">{9 * len(rows)}I", bytes.fromhex(digits))
    for n in range(0, 9 * min(room, len(rows)), 9):
        draft.stack.append((numbers[n], numbers[n + 1 : n + 9]))
    draft.body_done = True
    _keep(reader, draft, rows)
    return len(rows)


_NO_SEPARATORS = str.maketrans("", "", ": \n")


def _keep(reader: CrashReader, draft: Draft, rows: Sequence[str]) -> None:
    room = TEXT_LINES - len(draft.text)
    if room > 0:
        draft.text += [row.rstrip() for row in rows[:room]]
    draft.touched()
    reader.before.extend(rows)
