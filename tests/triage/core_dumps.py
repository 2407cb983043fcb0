"""Core dumps as ESP-IDF writes them, made byte by byte.

Source: ESP-IDF `core_dump_elf.c` (segments and notes), `core_dump_port.c` (PRSTATUS),
`esp_core_dump_types.h` (header), `core_dump_uart.c` (base64 lines of 48 bytes).
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CHIPS = {"esp32": 0, "esp32s3": 9, "esp32c3": 5, "esp32c6": 13}
RISCV = (
    "MEPC RA SP GP TP T0 T1 T2 S0/FP S1 A0 A1 A2 A3 A4 A5 A6 A7 "
    "S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 T3 T4 T5 T6"
)
XTENSA = {"PC": 0, "PS": 1, "LBEG": 2, "LEND": 3, "LCOUNT": 4, "SAR": 5}
XTENSA |= {f"A{n}": 64 + n for n in range(16)}
WORDS = 129
"""Of Xtensa's register note."""


@dataclass(frozen=True)
class Task:
    """A task: its control block's address, its name, registers, and memory of its stack."""

    handle: int
    name: str
    registers: Mapping[str, int]
    stack_at: int
    stack: bytes


def core_dump(
    tasks: Sequence[Task],
    *,
    chip: str = "esp32c3",
    elf_sha256: str = "",
    panic: str = "",
    exception: Mapping[int, int] | None = None,
) -> bytes:
    """A core dump of version 1.3 (ELF, SHA-256); the first task is the one that crashed."""
    xtensa = chip in ("esp32", "esp32s3")
    statuses = b"".join(_note("CORE", 1, (_xtensa if xtensa else _riscv)(task)) for task in tasks)
    version = CHIPS[chip] << 16 | 0x0103
    extra = [tasks[0].handle]
    for number, value in (exception or {}).items():
        extra += [number, value]
    info = _note("ESP_CORE_DUMP_INFO", 8266, struct.pack("<I66s", version, elf_sha256.encode()))
    info += _note("ESP_EXTRA_INFO", 677, struct.pack(f"<{len(extra)}I", *extra))
    if panic:
        info += _note("ESP_PANIC_DETAILS", 679, panic.encode())
    segments = [(4, 0, statuses)]
    for task in tasks:
        block = bytearray(340)
        struct.pack_into("<I", block, 0, task.stack_at)
        block[52:68] = task.name.encode().ljust(16, b"\0")
        segments += [(1, task.handle, bytes(block)), (1, task.stack_at, task.stack)]
    segments.append((4, 0, info))
    at = 52 + 32 * len(segments)
    headers = data = b""
    for kind, address, content in segments:
        size = len(content)
        headers += struct.pack("<8I", kind, at + len(data), address, address, size, size, 6, 0)
        data += content
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    machine = 0x5E if xtensa else 0xF3
    elf = ident + struct.pack(
        "<HHIIIIIHHHHHH", 4, machine, 1, 0, 52, 0, 0, 52, 32, len(segments), 0, 0, 0
    )
    body = elf + headers + data
    total = 24 + len(body) + 32
    whole = struct.pack("<6I", total, version, len(tasks), 340, 0, 3) + body
    return whole + hashlib.sha256(whole).digest()


def printed(dump: bytes) -> list[str]:
    """What the UART shows of a core dump."""
    lines = [base64.b64encode(dump[at : at + 48]).decode() for at in range(0, len(dump), 48)]
    start, end = "START", "END"
    return [
        f"================= CORE DUMP {start} =================",
        *lines,
        f"================= CORE DUMP {end} =================",
    ]


def windows(frames: Sequence[int], stack_at: int) -> tuple[dict[str, int], bytes]:
    """Registers and stack of an Xtensa task whose calls return to `frames`, innermost first."""
    size, step = 16 + 32 * len(frames), 32
    stack = bytearray(size)
    pointer = stack_at + 16
    registers = {"PC": frames[0], "A0": 0, "A1": pointer}
    if len(frames) > 1:
        registers["A0"] = 0x8000_0000 | frames[1] & 0x3FFF_FFFF
    for following in [*frames[2:], 0]:
        word = 0x8000_0000 | following & 0x3FFF_FFFF if following else 0
        struct.pack_into("<II", stack, pointer - 16 - stack_at, word, pointer + step)
        pointer += step
    return registers, bytes(stack)


def _riscv(task: Task) -> bytes:
    status = bytearray(204)
    struct.pack_into("<I", status, 24, task.handle)
    values = [task.registers.get(name, 0) for name in RISCV.split()]
    struct.pack_into("<32I", status, 72, *values)
    return bytes(status)


def _xtensa(task: Task) -> bytes:
    status = bytearray(72)
    struct.pack_into("<I", status, 24, task.handle)
    words = [0] * WORDS
    for name, value in task.registers.items():
        words[XTENSA[name]] = value
    return bytes(status) + struct.pack(f"<{WORDS}I", *words)


def _note(name: str, kind: int, content: bytes) -> bytes:
    text = name.encode() + b"\0"
    text += bytes(-len(text) % 4)
    return (
        struct.pack("<3I", len(text), len(content), kind)
        + text
        + content
        + bytes(-len(content) % 4)
    )
