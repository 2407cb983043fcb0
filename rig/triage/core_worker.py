"""Reads core dumps by Espressif's own library, in a process of its own.

    python -m rig.triage.core_worker    # a core dump in base64 a line in, a JSON object a line out

A core dump comes from the board: nothing in it is to be trusted, and esp-coredump imports esptool
(GPL). Here it may fail, hang or eat memory as it likes: the parent ends it. Its entry point
`CoreDump.info_corefile` needs a GDB and leaves by `sys.exit`; its loader needs neither.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import struct
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

MEMORY = 1 << 30
"""Bytes of address space this process may use."""
SEGMENTS = 4096
TASKS = 256
_ELF = b"\x7fELF"

_RISCV_NAMES = (
    "MEPC RA SP GP TP T0 T1 T2 S0/FP S1 A0 A1 A2 A3 A4 A5 A6 A7 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 "
    "T3 T4 T5 T6"
)
"""As a panic names them, in the order of PRSTATUS (esp-coredump `riscv.py`: `mepc`, then x1..)."""
_XTENSA_NAMES = {0: "PC", 1: "PS", 2: "LBEG", 3: "LEND", 4: "LCOUNT", 5: "SAR"}
_XTENSA_A0 = 64
_EXCCAUSE, _EXCVADDR = 0, 1


def describe(dump: bytes) -> dict[str, Any]:
    """What a raw core dump (header, data, checksum) holds. Raises what the library raises."""
    from esp_coredump.corefile.elf import ESPCoreDumpElfFile
    from esp_coredump.corefile.loader import ESPCoreDumpFileLoader, EspCoreDumpVersion

    check(dump)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "core"
        path.write_bytes(dump)
        loader = ESPCoreDumpFileLoader(str(path))
        try:
            riscv = loader.chip_ver in EspCoreDumpVersion.RISCV_CHIPS
            machine = ESPCoreDumpElfFile.EM_RISCV if riscv else ESPCoreDumpElfFile.EM_XTENSA
            loader.create_corefile(exe_name=None, e_machine=machine)
            core = ESPCoreDumpElfFile(loader.core_elf_file, e_machine=machine)
        finally:
            for name in loader.temp_files:
                with suppress(OSError):
                    Path(name).unlink()
    notes = [note for segment in core.note_segments for note in segment.note_secs]
    found: dict[str, Any] = {
        "chip": loader.target,
        "arch": "riscv" if riscv else "xtensa",
        "elf": None,
        "panic": None,
        "crashed": None,
        "exception": {},
        "tasks": [_task(note.desc, riscv) for note in notes if note.type == 1][:TASKS],
        "memory": [
            [segment.addr, base64.b64encode(segment.data).decode()]
            for segment in core.load_segments
        ],
    }
    for note in notes:
        if note.type == ESPCoreDumpElfFile.PT_ESP_INFO and len(note.desc) > 8:
            found["elf"] = _text(note.desc[4:])
        elif note.type == ESPCoreDumpElfFile.PT_ESP_PANIC_DETAILS:
            found["panic"] = _text(note.desc)
        elif note.type == ESPCoreDumpElfFile.PT_ESP_EXTRA_INFO:
            words = struct.unpack(f"<{len(note.desc) // 4}I", note.desc[: len(note.desc) & ~3])
            found["crashed"] = words[0] if words else None
            if not riscv:
                pairs = dict(zip(words[1::2], words[2::2], strict=False))
                found["exception"] = {
                    name: pairs[number]
                    for number, name in ((_EXCCAUSE, "EXCCAUSE"), (_EXCVADDR, "EXCVADDR"))
                    if number in pairs
                }
    return found


def check(dump: bytes) -> None:
    """Refuse what would make the library work out of all proportion. Raises ValueError."""
    if len(dump) < 24:
        raise ValueError(f"{len(dump)} bytes are no core dump")
    total, _version, tasks = struct.unpack_from("<III", dump)
    if total > len(dump):
        raise ValueError(f"it is incomplete: {len(dump)} of {total} bytes are there")
    start = dump.find(_ELF, 0, 64)
    if start < 0:
        if tasks > TASKS:
            raise ValueError(f"it claims {tasks} tasks")
        return
    elf = dump[start:]
    if len(elf) < 52:
        raise ValueError("its ELF header is incomplete")
    (offset,) = struct.unpack_from("<I", elf, 28)
    count, _, sections = struct.unpack_from("<HHH", elf, 44)
    if count > SEGMENTS or sections or offset + 32 * count > len(elf):
        raise ValueError(f"it claims {count} segments and {sections} sections")
    sizes = [struct.unpack_from("<I", elf, offset + 32 * n + 16)[0] for n in range(count)]
    if sum(sizes) > len(elf):
        raise ValueError(f"its segments claim {sum(sizes)} bytes, {len(elf)} are there")


def _task(status: bytes, riscv: bool) -> dict[str, Any]:
    """Handle and registers of a task, from its PRSTATUS note."""
    if riscv:
        (handle,) = struct.unpack_from("<I", status, 24)
        values = struct.unpack_from("<32I", status, 72)
        return {
            "handle": handle,
            "registers": dict(zip(_RISCV_NAMES.split(), values, strict=True)),
        }
    from esp_coredump.corefile.xtensa import PrStatus

    size = PrStatus.sizeof()
    (handle,) = struct.unpack_from("<I", status, 24)
    words = struct.unpack_from(f"<{(len(status) - size) // 4}I", status, size)
    registers = {name: words[n] for n, name in _XTENSA_NAMES.items() if n < len(words)}
    registers |= {f"A{n}": words[_XTENSA_A0 + n] for n in range(16) if _XTENSA_A0 + n < len(words)}
    return {"handle": handle, "registers": registers}


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def main() -> None:
    """Serve until standard input ends."""
    with suppress(ValueError, OSError):  # a machine whose limit is lower already
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints is no answer
    for line in sys.stdin:
        try:
            answer = describe(base64.b64decode(line))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a parser on untrusted bytes)
            words = " ".join(str(error).split()) or type(error).__name__
            answer = {"error": words[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
