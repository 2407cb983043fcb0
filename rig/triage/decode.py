"""Addresses of a crash -> functions, files and lines."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from rig.console.crash.chips import XTENSA_CAUSES
from rig.errors import FirmwareError
from rig.history.crash import CrashRecord
from rig.triage import cfi, gdb
from rig.triage.core_dump import CoreDump, addresses, shared
from rig.triage.elf import Elf, open_elf
from rig.triage.index import Place
from rig.triage.store import Symbols, SymbolStore, names_elf

Unwind = Literal["auto", "cfi", "gdb"]
Unwinder = Literal["cfi", "gdb"]
GDB_STACKS = 20
"""So many stacks are given to GDB where nobody asked for it."""
ASKED_ANEW = 2.0
"""Seconds after which the symbol store is looked into again: one may be added meanwhile."""
HASHES = 1000
PRINTED = 2
"""MEPC and RA: what a panic says without its stack memory."""

ROM = range(0x4000_0000, 0x4008_0000)
"""Where the ROM's code lies on every chip that has one of these addresses there."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One function of a crash's stack. Several stand for one address where code was inlined."""

    address: str
    """As printed (unwound addresses as 0x and eight digits); empty for a host's."""
    function: str | None
    file: str | None = None
    line: int | None = None
    inlined: bool = False
    """It was inlined into the next frame."""
    source: str = "elf"
    """`elf`, `rom`, `log` (the log carried it already), or `none`: not known."""

    def __str__(self) -> str:
        place = f" at {self.file}:{self.line}" if self.file and self.line else ""
        inlined = " (inlined)" if self.inlined else ""
        return f"{self.address} {self.function or '?'}{place}{inlined}".strip()


@dataclass(frozen=True, slots=True)
class TaskStack:
    """What a task was doing when the firmware crashed, from a core dump."""

    name: str | None
    handle: str
    """Address of its control block."""
    crashed: bool
    registers: dict[str, str]
    stack_start: str
    stack_bytes: int
    """What the dump holds of its stack."""
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True, slots=True)
class DecodedCrash:
    """A crash record and its stack, innermost function first."""

    record: CrashRecord
    frames: tuple[Frame, ...] = ()
    elf: str | None = None
    """SHA-256 of the ELF it was decoded with."""
    unwound: Unwinder | None = None
    """What found the frames beyond the printed addresses, in the printed stack memory."""
    tasks: tuple[TaskStack, ...] = ()
    """All tasks of its core dump, the crashed one first."""
    panic: str | None = None
    """The panic's details that the core dump kept: an assertion's text, the watchdog's tasks."""
    notes: tuple[str, ...] = field(default=())
    """What the reader should know: why it is not decoded, or what with."""

    @property
    def decoded(self) -> bool:
        """Whether any function is known."""
        return any(frame.function for frame in self.frames)


class Decoder:
    """Decodes crash records with given ELF files and a symbol store.

    The right ELF is the one whose SHA-256 begins as the log says. A given ELF whose hash differs
    is not used, unless `force`; where the log names no ELF, the only one given is used.
    """

    def __init__(
        self,
        elfs: Iterable[Path] = (),
        *,
        store: SymbolStore | None = None,
        force: bool = False,
        unwind: Unwind = "auto",
    ) -> None:
        """Hash the given ELF files. Raises `FirmwareError` for what is no ELF file.

        `unwind` says what reads a RISC-V stack's memory: the ELF's call-frame information (`cfi`),
        or GDB by Espressif's panic decoder (`gdb`). `auto` asks GDB, where there is one, only when
        call-frame information gets no further than the registers: it takes a second a stack, and
        the same crash has to have the same signature on every machine.
        """
        self.store = store or SymbolStore()
        self.given = [open_elf(path) for path in elfs]
        self.force = force
        self.unwind = unwind
        self._by_gdb = 0
        self._asked: dict[str, tuple[float, Elf | None]] = {}

    def decode(self, record: CrashRecord) -> DecodedCrash:
        """Decode one record; never raises on what a board printed."""
        if record.arch == "host":
            frames = tuple(_host_frame(text) for text in record.frames)
            return DecodedCrash(record, frames)
        core = shared().read(record.core_dump) if record.core_dump else None
        if core is not None and record.elf_sha256 is None and core.elf_sha256:
            record = replace(record, elf_sha256=core.elf_sha256)
        elf, notes = self._elf_of(record)
        symbols = None
        if elf is not None:
            try:
                symbols = self.store.of(elf)
                symbols.index()
            except FirmwareError as error:
                symbols, notes = None, (error.message,)
        said = log_places(record)
        if symbols is not None:
            crash = self._with(record, symbols, notes, said)
        else:
            frames = tuple(
                frame
                for address in _printed(record)
                for frame in _frames(address, said.get(int(address, 16), []), "log")
            )
            crash = DecodedCrash(record, frames, notes=notes)
        return crash if core is None else self._with_core(crash, core, symbols)

    def _with_core(
        self, crash: DecodedCrash, core: CoreDump, symbols: Symbols | None
    ) -> DecodedCrash:
        """The same, with what its core dump says."""
        if core.error is not None:
            note = f"its core dump was not read: {core.error}"
            record = replace(crash.record, core_dump=())
            return replace(crash, record=record, notes=(*crash.notes, note))
        record = _completed(crash.record, core)
        tables = symbols.index().frames if symbols is not None and core.arch == "riscv" else []
        stacks = tuple(
            TaskStack(
                task.name,
                f"0x{task.handle:08x}",
                task.crashed,
                {name: f"0x{value:08x}" for name, value in task.registers.items()},
                f"0x{task.stack_at:08x}",
                len(task.stack),
                tuple(self._placed(record, addresses(task, tables), core.arch, symbols)),
            )
            for task in core.tasks
        )
        frames = crash.frames
        if stacks and stacks[0].crashed and not record.backtrace:
            # Nothing but the core dump says where it was.
            frames = max(frames, stacks[0].frames, key=len)
        return replace(crash, record=record, frames=frames, tasks=stacks, panic=core.panic)

    def _placed(
        self, record: CrashRecord, found: list[int], arch: str | None, symbols: Symbols | None
    ) -> Iterator[Frame]:
        """Unwound addresses as frames."""
        back = 1 if arch == "riscv" else 0
        asked = [address - back if n else address for n, address in enumerate(found)]
        known = symbols.places(asked) if symbols is not None else {}
        for printed, address in zip(found, asked, strict=True):
            places, source = known.get(address, []), "elf"
            if not places and address in ROM:
                places, source = self._in_rom(record, address), "rom"
            yield from _frames(f"0x{printed:08x}", places, source)

    def _with(
        self,
        record: CrashRecord,
        symbols: Symbols,
        notes: tuple[str, ...],
        said: dict[int, list[Place]],
    ) -> DecodedCrash:
        printed = _printed(record)
        addresses = [int(address, 16) for address in printed]
        unwound: Unwinder | None = None
        if record.stack_memory and "MEPC" in record.registers and symbols.elf.arch == "riscv":
            found, how = self._unwound(record, symbols)
            if len(found) > 1 or len(addresses) < 2:
                unwound = how
                addresses = found
                printed = tuple(f"0x{address:08x}" for address in found)
        # A return address belongs to the call before it. Xtensa's printed addresses are moved there
        # by the panic handler itself (ESP-IDF `esp_cpu_process_stack_pc`).
        back = 1 if symbols.elf.arch == "riscv" else 0
        asked = [a - back if n else a for n, a in enumerate(addresses)]
        known = symbols.places(asked)
        frames: list[Frame] = []
        for text, address in zip(printed, asked, strict=True):
            places, source = known.get(address, []), "elf"
            if not places and address in ROM:
                places, source = self._in_rom(record, address), "rom"
            if not places:
                places, source = said.get(int(text, 16), []), "log"
            frames.extend(_frames(text, places, source))
        return DecodedCrash(record, tuple(frames), symbols.elf.sha256, unwound, notes=notes)

    def _unwound(self, record: CrashRecord, symbols: Symbols) -> tuple[list[int], Unwinder]:
        """Program counters from a stack's memory, and what found them."""
        found: list[int] = []
        if self.unwind != "gdb":
            found = cfi.unwind(symbols.index().frames, record.registers, record.stack_memory)
            if self.unwind == "cfi" or len(found) > PRINTED or self._by_gdb >= GDB_STACKS:
                return found, "cfi"
        if (debugger := gdb.debugger()) is not None:
            self._by_gdb += 1
            by_gdb = gdb.unwind(debugger, symbols.elf.path, record)
            if len(by_gdb) > len(found):
                return by_gdb, "gdb"
        return found, "cfi"

    def _in_rom(self, record: CrashRecord, address: int) -> list[Place]:
        chip = record.chip or ""
        for elf in (*(e for e in self.given if e.is_rom), *self.store.roms()):
            if not chip or not re.search(rf"(?:^|-){chip}_", elf.path.name):
                continue
            if places := self.store.of(elf).places([address]).get(address):
                return places
        return []

    def _stored(self, prefix: str) -> Elf | None:
        """The ELF of the symbol store with a hash; a boot loop asks for the same one for hours."""
        now = time.monotonic()
        known = self._asked.get(prefix)
        if known is None or now - known[0] > ASKED_ANEW:
            if len(self._asked) > HASHES:
                self._asked.clear()
            known = self._asked[prefix] = (now, self.store.find(prefix))
        return known[1]

    def _elf_of(self, record: CrashRecord) -> tuple[Elf | None, tuple[str, ...]]:
        """The ELF to decode with, and what to say about the choice."""
        prefix = record.elf_sha256
        apps = [elf for elf in self.given if not elf.is_rom]
        if prefix is not None and names_elf(prefix):
            for elf in apps:
                if elf.sha256.startswith(prefix.lower()):
                    return elf, ()
            if found := self._stored(prefix):
                return found, ()
            if not apps:
                return None, ()
            if self.force:
                return apps[0], (
                    f"decoded by force: {apps[0].path} is {apps[0].sha256[:9]}, "
                    f"the firmware is {prefix[:16]}: the functions may be wrong",
                )
            return None, (
                f"not decoded: the firmware is {prefix[:16]}, {apps[0].path} is "
                f"{apps[0].sha256[:9]}: give the ELF of that build (or --force)",
            )
        if len(apps) == 1:
            return apps[0], (f"the log names no ELF; decoded with {apps[0].path} as given",)
        return None, ()


def _completed(record: CrashRecord, core: CoreDump) -> CrashRecord:
    """A record with what only its core dump knows, and without the dump's lines."""
    crashed = core.tasks[0] if core.tasks and core.tasks[0].crashed else None
    registers = {} if crashed is None else crashed.registers
    pc = registers.get("MEPC", registers.get("PC"))
    address = core.exception.get("EXCVADDR")
    return replace(
        record,
        core_dump=(),  # megabytes, where a session holds hundreds of crashes
        chip=record.chip or core.chip,
        arch=record.arch or core.arch,
        task=record.task or (crashed.name if crashed is not None else None),
        reason=record.reason or XTENSA_CAUSES.get(core.exception.get("EXCCAUSE", -1)),
        pc=record.pc or (None if pc is None else f"0x{pc:08x}"),
        excvaddr=record.excvaddr or (None if address is None else f"0x{address:08x}"),
    )


def decode_record(record: CrashRecord, elfs: Sequence[Path] | Decoder = ()) -> DecodedCrash:
    """Decode one crash record with ELF files (or a `Decoder` kept for many) and the symbol store.

    Raises `FirmwareError` when a given file is no ELF file.
    """
    decoder = elfs if isinstance(elfs, Decoder) else Decoder(elfs)
    return decoder.decode(record)


def _printed(record: CrashRecord) -> tuple[str, ...]:
    """The addresses of a record that name code, innermost first."""
    addresses = record.backtrace or ((record.pc,) if record.pc else ())
    return tuple(a if a[:2].lower() == "0x" else f"0x{a}" for a in addresses)


def _host_frame(text: str) -> Frame:
    """A sanitizer's frame: `in foo(int) /src/a.c:12:3`, `in main (/usr/bin/app+0x12)`."""
    function, _, place = text.removeprefix("in ")[:_LONGEST].rpartition(" ")
    if place.startswith("("):
        return Frame("", function, source="log")
    file, *numbers = place.split(":")
    line = int(numbers[0]) if numbers and numbers[0].isdecimal() and len(numbers[0]) < 10 else None
    return Frame("", function or place, file if function else None, line, source="log")


def _frames(address: str, places: Sequence[Place], source: str) -> list[Frame]:
    if not places:
        return [Frame(address, None, source="none")]
    last = len(places) - 1
    return [
        Frame(address, function, file, line, n < last, source)
        for n, (function, file, line) in enumerate(places)
    ]


_SAID = re.compile(
    r"(?:^|[\s>])(?P<pc>0x[0-9a-f]{8})(?::0x[0-9a-f]{8} in | - |:\s?(?!0x))", re.IGNORECASE
)
_SAID_INLINED = re.compile(r"\(inlined by\) ")
_LONGEST = 1024
"""Characters of a decoded frame that are read."""


def log_places(record: CrashRecord) -> dict[int, list[Place]]:
    """What the log itself says of its addresses: monitors and loggers decode in place."""
    found: dict[int, list[Place]] = {}
    last: list[Place] = []
    for text in record.text:
        if " at " not in text and " in ROM" not in text:
            continue  # no place is said without one of these
        if inlined := _SAID_INLINED.search(text):
            if place := _place(text[inlined.end() :]):
                last.append(place)
        elif (match := _SAID.search(text)) and (place := _place(text[match.end() :])):
            address = int(match["pc"], 16)
            if address in found:
                last = []  # said twice: the first one counts
            else:
                last = found[address] = [place]
    return found


def _place(text: str) -> Place | None:
    """`function at file:line (discriminator 1)`, `function in ROM`; None for anything else."""
    text = text[:_LONGEST].partition(" (discriminator")[0].strip()
    function, at, where = text.partition(" at ")
    if not at:
        function, rom, _ = text.partition(" in ROM")
        return (function, None, None) if rom and function else None
    file, _, line = where.rpartition(":")
    if not file or not function.strip() or not (line == "?" or line.isdecimal()):
        return None
    number = int(line) if line.isdecimal() and len(line) < 10 else None
    return function.strip(), None if file == "??" else file, number
