"""Addresses of a crash -> functions, files and lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rig.errors import FirmwareError
from rig.history.crash import CrashRecord
from rig.triage import cfi
from rig.triage.elf import Elf, open_elf
from rig.triage.index import Place
from rig.triage.store import Symbols, SymbolStore, names_elf

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
class DecodedCrash:
    """A crash record and its stack, innermost function first."""

    record: CrashRecord
    frames: tuple[Frame, ...] = ()
    elf: str | None = None
    """SHA-256 of the ELF it was decoded with."""
    unwound: bool = False
    """Frames beyond the printed addresses came from stack memory."""
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
    ) -> None:
        """Hash the given ELF files. Raises `FirmwareError` for what is no ELF file."""
        self.store = store or SymbolStore()
        self.given = [open_elf(path) for path in elfs]
        self.force = force

    def decode(self, record: CrashRecord) -> DecodedCrash:
        """Decode one record; never raises on what a board printed."""
        if record.arch == "host":
            frames = tuple(_host_frame(text) for text in record.frames)
            return DecodedCrash(record, frames)
        elf, notes = self._elf_of(record)
        said = log_places(record)
        if elf is not None:
            try:
                return self._with(record, self.store.of(elf), notes, said)
            except FirmwareError as error:
                notes = (*notes, error.message)
        frames = tuple(
            frame
            for address in _printed(record)
            for frame in _frames(address, said.get(int(address, 16), []), "log")
        )
        return DecodedCrash(record, frames, notes=notes)

    def _with(
        self,
        record: CrashRecord,
        symbols: Symbols,
        notes: tuple[str, ...],
        said: dict[int, list[Place]],
    ) -> DecodedCrash:
        printed = _printed(record)
        addresses = [int(address, 16) for address in printed]
        unwound = False
        if record.stack_memory and "MEPC" in record.registers and symbols.elf.arch == "riscv":
            found = cfi.unwind(symbols.index().frames, record.registers, record.stack_memory)
            if len(found) > 1 or len(addresses) < 2:
                unwound = True
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
        return DecodedCrash(record, tuple(frames), symbols.elf.sha256, unwound, notes)

    def _in_rom(self, record: CrashRecord, address: int) -> list[Place]:
        chip = record.chip or ""
        for elf in (*(e for e in self.given if e.is_rom), *self.store.roms()):
            if not chip or not re.search(rf"(?:^|-){chip}_", elf.path.name):
                continue
            if places := self.store.of(elf).places([address]).get(address):
                return places
        return []

    def _elf_of(self, record: CrashRecord) -> tuple[Elf | None, tuple[str, ...]]:
        """The ELF to decode with, and what to say about the choice."""
        prefix = record.elf_sha256
        apps = [elf for elf in self.given if not elf.is_rom]
        if prefix is not None and names_elf(prefix):
            for elf in apps:
                if elf.sha256.startswith(prefix.lower()):
                    return elf, ()
            if found := self.store.find(prefix):
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
