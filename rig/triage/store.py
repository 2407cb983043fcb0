"""The symbol store: ELF files by their hash, with the index made of each."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from rig.errors import FirmwareError, RigError
from rig.triage.elf import Elf, is_elf, open_elf
from rig.triage.home import symbols_folder
from rig.triage.index import VERSION, Index, Place, build_index
from rig.triage.tools import ask, symboliser

SHORTEST = 6
"""A hash prefix must have so many digits to name an ELF (ESP-IDF prints 9 or 16)."""
KNOWN = 100_000
"""Answers kept of one ELF: a log may hold any number of addresses."""


def names_elf(prefix: str | None) -> bool:
    """Whether a printed hash names an ELF: Arduino's prebuilt cores print zeros."""
    return bool(prefix and len(prefix) >= SHORTEST and prefix.strip("0"))


@dataclass(slots=True)
class Symbols:
    """One ELF file, ready to be asked; answers are kept."""

    elf: Elf
    folder: Path
    """Where its index is kept."""
    _index: Index | None = None
    _known: dict[int, list[Place]] = field(default_factory=dict)

    @property
    def index_path(self) -> Path:
        """Where the index of this ELF lies."""
        return self.folder / f"{self.elf.sha256}.index"

    def index(self) -> Index:
        """The index, from disk or built (a second or more) and kept. Raises `FirmwareError`."""
        if self._index is None:
            self._index = self._load()
        if self._index is None:
            self._index = build_index(self.elf.path, self.elf.sha256)
            self._save(self._index)
        return self._index

    def places(self, addresses: Iterable[int]) -> dict[int, list[Place]]:
        """Functions at addresses, innermost first; an unknown address has none."""
        if len(self._known) > KNOWN:
            self._known.clear()
        wanted = set(addresses) - self._known.keys()
        if wanted:
            self._known.update(self._ask(wanted))
            for address in wanted:
                self._known.setdefault(address, [])
        return self._known

    def _ask(self, wanted: set[int]) -> dict[int, list[Place]]:
        try:
            index = self.index()
        except FirmwareError:
            # The index's own names are preferred (symbolisers differ in theirs, signatures may
            # not); but where pyelftools cannot read the file, binutils or LLVM may.
            tool = symboliser()
            if tool is not None and (found := ask(tool, self.elf.path, sorted(wanted))):
                return found
            raise
        return {address: index.places(address) for address in wanted}

    def _load(self) -> Index | None:
        try:
            index = msgspec.msgpack.decode(self.index_path.read_bytes(), type=Index)
        except (OSError, msgspec.DecodeError):
            return None  # absent, cut short or of an older format: it is built anew
        return index if index.version == VERSION and index.sha256 == self.elf.sha256 else None

    def _save(self, index: Index) -> None:
        with contextlib.suppress(OSError):  # a read-only home: slower next time, not wrong
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(self.index_path, msgspec.msgpack.encode(index))


def _write(path: Path, data: bytes) -> None:
    """Write whole or not at all, beside other writers."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


class SymbolStore:
    """A folder of ELF files, each named after its SHA-256."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or symbols_folder()
        self._open: dict[str, Symbols] = {}

    def add(self, path: Path, *, index: bool = True) -> Elf:
        """Copy an ELF in and make its index. Raises `FirmwareError` for what is no sound ELF."""
        elf = open_elf(path)
        name = f"{elf.sha256}-{path.name}" if elf.is_rom else f"{elf.sha256}.elf"
        target = self.folder / name
        kept = Elf(target, elf.sha256, elf.arch)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                handle, new = tempfile.mkstemp(dir=self.folder, prefix=".new-")
                os.close(handle)
                shutil.copyfile(path, new)
                Path(new).replace(target)
        except OSError as error:
            raise RigError(
                f"cannot keep {path} in the symbol store {self.folder}: {error.strerror}",
                hint="set SENDSPIN_RIG_HOME to a folder that you may write to",
            ) from error
        if index:
            try:
                self.of(kept).index()
            except FirmwareError:
                target.unlink(missing_ok=True)
                raise
        return kept

    def of(self, elf: Elf) -> Symbols:
        """An ELF file ready to be asked; its index is kept in this store."""
        known = self._open.get(elf.sha256)
        if known is None:
            known = self._open[elf.sha256] = Symbols(elf, self.folder)
        return known

    def find(self, prefix: str | None) -> Elf | None:
        """The ELF whose hash begins with `prefix`; None where none or more than one does."""
        if prefix is None or not names_elf(prefix) or not re.fullmatch(r"[0-9a-fA-F]+", prefix):
            return None
        found = list(self.folder.glob(f"{prefix.lower()}*.elf"))
        return self._elf(found[0]) if len(found) == 1 else None

    def roms(self) -> list[Elf]:
        """ELF files of chips' ROMs."""
        return [self._elf(path) for path in sorted(self.folder.glob("*rom.elf"))]

    def all(self) -> list[Elf]:
        """Every ELF file that is kept."""
        return [self._elf(path) for path in sorted(self.folder.glob("[0-9a-f]*.elf"))]

    def remove(self, prefix: str) -> list[Path]:
        """Forget ELF files by hash prefix (at least six digits); returns what was removed."""
        gone = []
        if names_elf(prefix) and re.fullmatch(r"[0-9a-fA-F]+", prefix):
            for path in self.folder.glob(f"{prefix.lower()}*"):
                path.unlink(missing_ok=True)
                if path.suffix == ".elf":
                    gone.append(path)
        return gone

    @staticmethod
    def _elf(path: Path) -> Elf:
        # The name is the hash: nobody hashes a stored file again.
        with path.open("rb") as file:
            head = file.read(20)
        arch = {94: "xtensa", 243: "riscv"}.get(int.from_bytes(head[18:20], "little"))
        return Elf(path, path.name[:64], arch)


def elf_files(paths: Iterable[Path]) -> Iterator[Path]:
    """ELF files among `paths`: files as named, folders searched through."""
    for path in paths:
        if path.is_dir():
            for found in sorted(path.rglob("*.elf")):
                if is_elf(found):
                    yield found
        else:
            yield path
