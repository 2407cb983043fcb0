"""Unwinding a RISC-V stack from a panic's stack memory, by DWARF call-frame information.

A RISC-V panic prints registers and up to 1 KiB of stack, no backtrace. The ELF's `.debug_frame` or
`.eh_frame` says for each address where the caller's registers lie; the dump holds them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

RA, SP = 1, 2
DEEPEST = 64
"""No stack is followed further (a damaged one can go round in circles)."""

NUMBERS = {
    "RA": 1, "SP": 2, "GP": 3, "TP": 4, "T0": 5, "T1": 6, "T2": 7, "S0/FP": 8, "S1": 9,
    **{f"A{n}": 10 + n for n in range(8)},
    **{f"S{n}": 16 + n for n in range(2, 12)},
    **{f"T{n}": 25 + n for n in range(3, 7)},
}  # fmt: skip
"""DWARF number of each register as a panic names it (RISC-V psABI)."""


class Row(msgspec.Struct, array_like=True):
    """From `pc` on: the frame's base is register `base` + `offset`; saved registers lie at it."""

    pc: int
    base: int
    offset: int
    saved: list[tuple[int, int]]
    """(register, offset from the frame's base)."""
    outermost: bool = False
    """RA is undefined here: nobody called this function."""


class Table(msgspec.Struct, array_like=True):
    """Call-frame information of one function."""

    low: int
    high: int
    rows: list[Row]

    def row(self, pc: int) -> Row | None:
        """The row that holds at `pc`."""
        at = bisect_right([row.pc for row in self.rows], pc) - 1
        return self.rows[at] if at >= 0 else None


def tables(dwarf: Any) -> list[Table]:
    """All call-frame information of an ELF's DWARF, by ascending address."""
    from elftools.dwarf.callframe import FDE

    entries: list[Any] = []
    if dwarf.has_CFI():
        entries += dwarf.CFI_entries()
    if dwarf.has_EH_CFI():
        entries += dwarf.EH_CFI_entries()
    found: dict[int, Table] = {}
    for entry in entries:
        if isinstance(entry, FDE):
            low = entry["initial_location"]
            if low and low not in found:
                rows = [row for line in entry.get_decoded().table if (row := _row(line))]
                found[low] = Table(low, low + entry["address_range"], rows)
    return [found[low] for low in sorted(found)]


def _row(line: Mapping[Any, Any]) -> Row | None:
    base = line.get("cfa")
    if base is None or getattr(base, "reg", None) is None:
        return None
    saved = []
    outermost = False
    for register, rule in line.items():
        if isinstance(register, int):
            if rule.type == "OFFSET":
                saved.append((register, rule.arg))
            elif rule.type == "UNDEFINED" and register == RA:
                outermost = True
    return Row(line["pc"], base.reg, base.offset, saved, outermost)


def unwind(
    frames: Sequence[Table],
    registers: Mapping[str, str],
    stack: Sequence[tuple[int, tuple[int, ...]]],
) -> list[int]:
    """Program counters from the innermost out: MEPC, then the return addresses found.

    It ends at the outermost function, at the edge of the dump, or where no information is.
    """
    values = {
        number: int(registers[name], 16) for name, number in NUMBERS.items() if name in registers
    }
    pc = int(registers["MEPC"], 16) if "MEPC" in registers else 0
    memory = {address + 4 * n: word for address, words in stack for n, word in enumerate(words)}
    lows = [table.low for table in frames]
    found = [pc]
    if pc and (at := bisect_right(lows, pc) - 1) >= 0 and pc < frames[at].high:
        pass
    elif values.get(RA):
        # A jump through a bad pointer: MEPC lies nowhere, RA says who jumped.
        pc = values[RA]
        found.append(pc)
        pc -= 1
    while len(found) < DEEPEST:
        at = bisect_right(lows, pc) - 1
        if at < 0 or pc >= frames[at].high:
            break
        row = frames[at].row(pc)
        if row is None or row.outermost or row.base not in values:
            break
        base = values[row.base] + row.offset
        before = (pc, values.get(SP))
        for register, offset in row.saved:
            word = memory.get(base + offset)
            if word is None:
                values.pop(register, None)
            else:
                values[register] = word
        values[SP] = base
        caller = values.get(RA)
        if not caller or (caller - 1, base) == before:
            break
        if len(found) > 1 and not any(register == RA for register, _ in row.saved):
            break  # a caller that did not save RA cannot have called
        found.append(caller)
        pc = caller - 1
    return found
