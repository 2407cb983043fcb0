"""A symbol index of one ELF file: address -> functions (inlined ones too), file and line.

Built once with pyelftools, kept on disk, answered by bisection. Building takes a second or more for
a large application; an answer takes microseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from elftools.common.exceptions import DWARFError, ELFError
from elftools.elf.elffile import ELFFile

from rig.errors import FirmwareError
from rig.triage import cfi

VERSION = 3
"""Of the format on disk. An index of another version is built anew."""

BROKEN = (
    DWARFError, ELFError, KeyError, IndexError, ValueError, AttributeError, TypeError,
    OverflowError, AssertionError, UnicodeDecodeError, RecursionError, NotImplementedError,
    EOFError, MemoryError,
)  # fmt: skip
"""What pyelftools raises on damaged files (it checks little)."""

Place = tuple[str, str | None, int | None]
"""Function, file, line."""


class Index(msgspec.Struct, array_like=True):
    """Everything triage asks of an ELF file. Numbers stand for strings in `names`."""

    version: int
    sha256: str
    names: list[str]
    starts: list[int]
    """Ascending addresses at which the function, or what is inlined there, changes."""
    chains: list[int]
    """By start: number in `stacks`, or -1 where no function is."""
    stacks: list[list[tuple[int, int, int]]]
    """Innermost first: (function, file of its call site, line of its call site)."""
    rows: list[int]
    """Ascending addresses at which the line changes."""
    lines: list[tuple[int, int]]
    """By row: (file, line); line 0 where no code is."""
    frames: list[cfi.Table]
    """Call-frame information by ascending address (RISC-V)."""

    def places(self, address: int) -> list[Place]:
        """Functions at an address, innermost first; empty where none is."""
        at = bisect_right(self.starts, address) - 1
        if at < 0 or self.chains[at] < 0:
            return []
        file: str | None = None
        line: int | None = None
        row = bisect_right(self.rows, address) - 1
        if row >= 0 and self.lines[row][1]:
            file, line = self.names[self.lines[row][0]], self.lines[row][1]
        found: list[Place] = []
        for function, call_file, call_line in self.stacks[self.chains[at]]:
            found.append((self.names[function], file, line))
            file = self.names[call_file] if call_file >= 0 else None
            line = call_line or None
        return found


class _Builder:
    """Gathers an index from one ELF file."""

    def __init__(self, sha256: str) -> None:
        self.index = Index(VERSION, sha256, [], [], [], [], [], [], [])
        self._numbers: dict[str, int] = {}
        self._stacks: dict[tuple[tuple[int, int, int], ...], int] = {}
        self._spans: list[tuple[int, int, int]] = []
        self._rows: list[tuple[int, int, int]] = []

    def number(self, text: str) -> int:
        known = self._numbers.get(text)
        if known is None:
            known = self._numbers[text] = len(self.index.names)
            self.index.names.append(text)
        return known

    def stack(self, frames: tuple[tuple[int, int, int], ...]) -> int:
        known = self._stacks.get(frames)
        if known is None:
            known = self._stacks[frames] = len(self.index.stacks)
            self.index.stacks.append(list(frames))
        return known

    def span(self, low: int, high: int, stack: int) -> None:
        if high > low:
            self._spans.append((low, high, stack))

    def row(self, address: int, file: int, line: int) -> None:
        self._rows.append((address, file, line))

    def finish(self) -> Index:
        """Sort; where spans overlap (linked-out duplicates), the later start wins."""
        index = self.index
        end = 0
        for low, high, stack in sorted(self._spans):
            if index.starts and low < end:
                if low == index.starts[-1]:
                    continue
                if high <= end:
                    continue
            if index.starts and low > end:
                index.starts.append(end)
                index.chains.append(-1)
            index.starts.append(max(low, end) if low < end else low)
            index.chains.append(stack)
            end = max(end, high)
        if index.starts:
            index.starts.append(end)
            index.chains.append(-1)
        # Of two rows at one address an end-of-sequence (line 0) comes first, so that a
        # sequence which begins there counts.
        self._rows.sort(key=lambda row: (row[0], row[2] != 0))
        for address, file, line in self._rows:
            if index.rows and index.rows[-1] == address:
                index.lines[-1] = (file, line)
            else:
                index.rows.append(address)
                index.lines.append((file, line))
        return index


def build_index(path: Path, sha256: str) -> Index:
    """Read symbols, lines and call frames of an ELF file.

    Raises `FirmwareError` when it is broken or holds no symbols at all.
    """
    builder = _Builder(sha256)
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf.has_dwarf_info():
                dwarf = elf.get_dwarf_info()
                for unit in dwarf.iter_CUs():
                    _read_unit(builder, dwarf, unit)
                if elf["e_machine"] == "EM_RISCV":
                    builder.index.frames = cfi.tables(dwarf)
            _read_symbols(builder, elf)
    except BROKEN as error:
        raise FirmwareError(
            f"{path} is a broken ELF file: {error or type(error).__name__}",
            hint="build it again, or take it from the artifacts of the build that was flashed",
        ) from error
    except OSError as error:
        raise FirmwareError(
            f"cannot read the ELF file {path}: {error.strerror}",
            hint="name a file that exists and that you may read",
        ) from error
    index = builder.finish()
    if not index.starts:
        raise FirmwareError(
            f"{path} holds no symbols",
            hint="it was stripped: keep the .elf that the linker wrote",
        )
    return index


def _read_symbols(builder: _Builder, elf: Any) -> None:
    """Functions that have no debug information: assembler, ROM, binary libraries."""
    table = elf.get_section_by_name(".symtab")
    if table is None:
        return
    known = sorted(builder._spans)
    starts = [low for low, _, _ in known]
    for symbol in table.iter_symbols():
        if symbol["st_info"]["type"] != "STT_FUNC" or not symbol.name:
            continue
        low = symbol["st_value"]
        high = low + (symbol["st_size"] or 2)
        at = bisect_right(starts, low) - 1
        if at >= 0 and known[at][1] > low:
            continue
        name = builder.number(symbol.name)
        builder.span(low, high, builder.stack(((name, -1, 0),)))


def _read_unit(builder: _Builder, dwarf: Any, unit: Any) -> None:
    top = unit.get_top_DIE()
    files = _read_lines(builder, dwarf, unit)
    low = top.attributes.get("DW_AT_low_pc")
    base = low.value if low is not None else 0
    for die in unit.iter_DIEs():
        if die.tag == "DW_TAG_subprogram":
            _read_function(builder, dwarf, unit, die, base, files)


def _read_lines(builder: _Builder, dwarf: Any, unit: Any) -> list[int]:
    """Rows of the unit's line program; returns its files as numbers, by DWARF file index."""
    program = dwarf.line_program_for_CU(unit)
    if program is None:
        return []
    header = program.header
    newer = header["version"] >= 5
    folders = [_text(folder) for folder in header["include_directory"]]
    files = [] if newer else [builder.number("?")]
    for entry in header["file_entry"]:
        name = _text(entry.name)
        folder = entry.dir_index if newer else entry.dir_index - 1
        if not name.startswith("/") and 0 <= folder < len(folders):
            name = f"{folders[folder]}/{name}"
        files.append(builder.number(name))
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if state.end_sequence:
            builder.row(state.address, 0, 0)
        elif 0 <= state.file < len(files):
            builder.row(state.address, files[state.file], state.line)
    return files


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    inner = getattr(value, "DW_LNCT_path", None)
    if inner is not None:
        return _text(inner)
    return str(value)


def _ranges(dwarf: Any, unit: Any, die: Any, base: int) -> list[tuple[int, int]]:
    """Where a function's code is, as [low, high)."""
    low = die.attributes.get("DW_AT_low_pc")
    high = die.attributes.get("DW_AT_high_pc")
    if low is not None and high is not None:
        end = high.value if high.form == "DW_FORM_addr" else low.value + high.value
        return [(low.value, end)] if low.value else []
    ranges = die.attributes.get("DW_AT_ranges")
    if ranges is None or dwarf.range_lists() is None:
        return []
    found = []
    for entry in dwarf.range_lists().get_range_list_at_offset(ranges.value, cu=unit):
        if hasattr(entry, "base_address"):
            base = entry.base_address
        elif entry.is_absolute:
            found.append((entry.begin_offset, entry.end_offset))
        else:
            found.append((base + entry.begin_offset, base + entry.end_offset))
    return [(start, end) for start, end in found if start]


def _read_function(
    builder: _Builder, dwarf: Any, unit: Any, die: Any, base: int, files: list[int]
) -> None:
    """A function and all that was inlined into it, cut into spans of one chain each."""
    outer = _ranges(dwarf, unit, die, base)
    if not outer:
        return
    nodes: list[tuple[int, int, int, int]] = []  # low, high, depth, stack
    name = builder.number(_name(die))
    chain = ((name, -1, 0),)
    nodes.extend((low, high, 0, builder.stack(chain)) for low, high in outer)
    for inner, depth, frames in _inlined(builder, die, files, chain, 1):
        stack = builder.stack(frames)
        nodes.extend((low, high, depth, stack) for low, high in _ranges(dwarf, unit, inner, base))
    cuts = sorted({edge for low, high, _, _ in nodes for edge in (low, high)})
    nodes.sort()
    active: list[tuple[int, int, int, int]] = []
    ahead = 0
    for low, high in pairwise(cuts):
        while ahead < len(nodes) and nodes[ahead][0] <= low:
            active.append(nodes[ahead])
            ahead += 1
        active = [node for node in active if node[1] > low]
        if active:
            builder.span(low, high, max(active, key=lambda node: node[2])[3])


def _inlined(
    builder: _Builder, die: Any, files: list[int], chain: tuple[Any, ...], depth: int
) -> Iterator[tuple[Any, int, tuple[Any, ...]]]:
    if depth > 64:
        return
    for child in die.iter_children():
        if child.tag == "DW_TAG_inlined_subroutine":
            file = child.attributes.get("DW_AT_call_file")
            line = child.attributes.get("DW_AT_call_line")
            number = file.value if file is not None else -1
            frames = (
                (
                    builder.number(_name(child)),
                    files[number] if 0 <= number < len(files) else -1,
                    line.value if line is not None else 0,
                ),
                *chain,
            )
            yield child, depth, frames
            yield from _inlined(builder, child, files, frames, depth + 1)
        elif child.tag == "DW_TAG_lexical_block":
            yield from _inlined(builder, child, files, chain, depth)


def _name(die: Any) -> str:
    """A function's name with its scopes, as C++ writes it, without parameters."""
    for _ in range(8):
        for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if link in die.attributes:
                die = die.get_DIE_from_attribute(link)
                break
        else:
            break
    name = die.attributes.get("DW_AT_name")
    parts = [_text(name.value) if name is not None else "?"]
    scope = die.get_parent()
    while scope is not None and len(parts) < 16:
        if scope.tag in _SCOPES:
            label = scope.attributes.get("DW_AT_name")
            if label is not None:
                parts.append(_text(label.value))
            elif scope.tag == "DW_TAG_namespace":
                parts.append("(anonymous namespace)")
        scope = scope.get_parent()
    return "::".join(reversed(parts))


_SCOPES = frozenset(
    {"DW_TAG_namespace", "DW_TAG_class_type", "DW_TAG_structure_type", "DW_TAG_union_type"}
)
