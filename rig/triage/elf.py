"""An ELF file as triage needs it: its hash, its architecture, whether it is one at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from rig.errors import FirmwareError

MAGIC = b"\x7fELF"
_MACHINES = {94: "xtensa", 243: "riscv"}


@dataclass(frozen=True, slots=True)
class Elf:
    """An ELF file of a firmware build."""

    path: Path
    sha256: str
    """Of the whole file, in hex: ESP-IDF prints the beginning of it in boot logs and panics."""
    arch: str | None
    """`xtensa` or `riscv`; None for another machine's."""

    @property
    def is_rom(self) -> bool:
        """Whether it is a chip's ROM (Espressif names them `esp32c3_rev3_rom.elf`)."""
        return self.path.name.endswith("rom.elf")


def open_elf(path: Path) -> Elf:
    """Hash an ELF file. Raises `FirmwareError` when it cannot be read or is none."""
    if path.exists() and not path.is_file():  # a device or a pipe never ends
        raise FirmwareError(f"{path} is no regular file", hint="name the .elf of the build")
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            if not head.startswith(MAGIC) or len(head) < 52:
                raise FirmwareError(
                    f"{path} is no ELF file: it begins with {head[:4]!r}, expected {MAGIC!r}",
                    hint="name the .elf of the build, not the .bin that was flashed",
                )
            chunk = head
            while chunk:
                digest.update(chunk)
                chunk = file.read(1 << 20)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FirmwareError(
            f"cannot read the ELF file {path}: {getattr(error, 'strerror', error)}",
            hint="name a file that exists and that you may read",
        ) from error
    order = "little" if head[5] == 1 else "big"
    machine = int.from_bytes(head[18:20], order)  # type: ignore[arg-type]
    return Elf(path, digest.hexdigest(), _MACHINES.get(machine))


def is_elf(path: Path) -> bool:
    """Whether a file begins as an ELF file does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False
