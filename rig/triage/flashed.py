"""The symbols of what gets flashed: kept, so that its crashes can be decoded anywhere."""

from __future__ import annotations

import tempfile
from pathlib import Path

from firmware_flasher.bundle import Bundle
from rig.triage.elf import Elf
from rig.triage.store import SymbolStore


def keep_symbols(bundle: Bundle, store: SymbolStore | None = None) -> Elf | None:
    """Put a bundle's ELF file into the symbol store; None where the bundle has none.

    Its index is made when it is first asked, so that flashing does not wait for it. Raises
    `RigError` where the store cannot be written to, or what calls itself an ELF file is none.
    """
    store = store or SymbolStore()
    if bundle.app is None:
        return None
    known = store.find(bundle.app.elf_sha256)
    if known is not None:
        return known
    if bundle.elf is not None:
        return store.add(bundle.elf, index=False)
    if bundle.packed_elf is None:
        return None
    with tempfile.TemporaryDirectory(prefix="rig-elf-") as folder:
        unpacked = Path(folder) / f"{bundle.app.elf_sha256}.elf"
        unpacked.write_bytes(bundle.packed_elf)
        return store.add(unpacked, index=False)
