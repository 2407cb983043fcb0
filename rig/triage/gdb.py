"""Unwinding a RISC-V stack by GDB, through Espressif's esp-idf-panic-decoder.

The decoder serves the registers and the stack memory of a panic to GDB as if a board were attached.
GDB follows what call-frame information alone does not say (a function without any, by reading its
instructions). It gets what was read of the panic, printed anew, and never a line of the log itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from rig.history.crash import CrashRecord

TIMEOUT = 30.0
"""Seconds for one stack."""
_NAMES = (
    "riscv32-esp-elf-gdb",
    "riscv32-unknown-elf-gdb",
    "riscv64-unknown-elf-gdb",
    "gdb-multiarch",
)
_FRAME = re.compile(r"^#\d+\s+(?:(0x[0-9a-f]+) in )?", re.MULTILINE)
_KEPT = 256

_known: dict[tuple[str, tuple[tuple[str, str], ...], object], list[int]] = {}


@cache
def debugger() -> str | None:
    """Path of a GDB that knows RISC-V, or None: there is none on this machine."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def unwind(debugger: str, elf: Path, record: CrashRecord) -> list[int]:
    """Program counters of a panic, innermost first; none where GDB or the decoder fails.

    A stack that was asked for before is answered from memory: boot loops repeat theirs.
    """
    key = (str(elf), tuple(record.registers.items()), record.stack_memory)
    if key not in _known:
        while len(_known) >= _KEPT:
            del _known[next(iter(_known))]
        _known[key] = _asked(debugger, elf, record)
    return _known[key]


def _asked(debugger: str, elf: Path, record: CrashRecord) -> list[int]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as panic:
        panic.write(_printed(record))
        panic.flush()
        server = f'"{sys.executable}" -P -m esp_idf_panic_decoder "{panic.name}"'
        command = [debugger, "--batch", "-n", "-ex", "set width 0", str(elf)]
        command += ["-ex", f"target remote | {server}", "-ex", f"bt {_DEEPEST}"]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT
            )
        except (OSError, subprocess.TimeoutExpired):
            return []
    found: list[int] = []
    for number, match in enumerate(_FRAME.finditer(run.stdout)):
        # An inlined function has its caller's address, and GDB prints none.
        text = match[1] or (record.registers["MEPC"] if number == 0 else None)
        address = int(text, 16) if text else 0
        if address and (not found or found[-1] != address):
            found.append(address)
    return found


_DEEPEST = 64


def _printed(record: CrashRecord) -> str:
    """A panic as ESP-IDF prints it."""
    registers = "\n".join(f"{name:<8}: {value}" for name, value in record.registers.items())
    rows = []
    following: int | None = None
    for address, words in record.stack_memory:
        if following is not None and address != following:
            break  # a torn dump: what lies behind the gap is no part of this stack
        following = address + 4 * len(words)
        rows.append(f"{address:08x}: " + " ".join(f"0x{word:08x}" for word in words))
    return f"Core  0 register dump:\n{registers}\n\nStack memory:\n" + "\n".join(rows) + "\n"
