"""A panic as ESP-IDF prints it on an ESP32-C3, with the true addresses of the image.

The registers agree with the instruction at MEPC, and the stack memory unwinds with the ELF's
call-frame information: return addresses lie where the functions' prologues put them.
"""

from __future__ import annotations

from rig.boards.virtual.cpu import POISON, LoadFault
from rig.boards.virtual.firmware import AppImage, Function
from rig.boards.virtual.system import System

LOAD_ACCESS_FAULT = 5
STACK_TOP = 0x3FCB_5FF0
"""Where the faulting task's stack begins (it grows down)."""
STACK_WORDS = 256
"""Words dumped: 1,024 bytes from SP, `CONFIG_ESP_SYSTEM_PANIC_PRINT...`'s usual amount."""
FILL = 0xA5A5_A5A5
"""What FreeRTOS fills unused stack with."""

_NAMES = (
    *("MEPC", "RA", "SP", "GP", "TP", "T0", "T1", "T2", "S0/FP", "S1"),
    *(f"A{n}" for n in range(8)),
    *(f"S{n}" for n in range(2, 12)),
    *(f"T{n}" for n in range(3, 7)),
)  # by register number; x0 has no place, MEPC is printed in it


def dump(system: System, fault: LoadFault) -> None:
    """Print what the panic handler prints, down to `Rebooting...`."""
    head = "Core  0 panic'ed (Load access fault). Exception was unhandled."
    system.say(f"Guru Meditation Error: {head}\n\nCore  0 register dump:")
    for line in _dump_lines(system.image, fault):
        system.say(line)
    sha = system.image.descriptor.elf_sha256.hex()[:9]
    system.say(f"\n\n\nELF file SHA256: {sha}\n\nRebooting...")


def _dump_lines(image: AppImage, fault: LoadFault) -> list[str]:
    stack = list(fault.stack)
    while len(stack) > 1 and not ((top := image.functions.get(stack[-1])) and top.touch):
        stack.pop()  # a helper of the model's: the firmware faults in the function around it
    frames, return_address = _frames(image, stack)
    top = image.functions.get(stack[-1]) if stack else None
    sp = STACK_TOP - 4 * len(frames)
    registers = _registers(top, fault, sp, return_address)
    pairs = [f"{name:<8}: {value:#010x}  " for name, value in registers.items()]
    lines = ["".join(pairs[at : at + 4]) for at in range(0, len(pairs), 4)]
    lines += ["", "Stack memory:"]
    words = (frames + [FILL] * STACK_WORDS)[:STACK_WORDS]
    for at in range(0, STACK_WORDS, 8):
        text = " ".join(f"{word:#010x}" for word in words[at : at + 8])
        lines.append(f"{sp + 4 * at:08x}: {text}")
    return lines


def _frames(image: AppImage, stack: list[str]) -> tuple[list[int], int]:
    """The stack's words from SP up, and what RA holds, for calls outermost first."""
    words: list[int] = []
    ra = 0
    for number, name in enumerate(stack):
        function = image.functions.get(name)
        if function is None:
            continue
        frame = [0] * (function.frame_size // 4)
        if function.ra_offset is not None and frame:
            frame[function.ra_offset // 4] = ra
        words = frame + words
        if number + 1 < len(stack):
            ra = image.calls.get((name, stack[number + 1]), function.end - 2)
    return words, ra


def _registers(top: Function | None, fault: LoadFault, sp: int, ra: int) -> dict[str, int]:
    values = dict.fromkeys(_NAMES, 0)
    values |= {"GP": 0x3FC8_D800, "TP": STACK_TOP - 0x100, "SP": sp, "RA": ra}
    values |= {"A0": fault.pointer, "S0/FP": fault.pointer, "A7": 0x4000_0000}
    mtval = POISON
    if top is not None:
        values["MEPC"] = top.touch
        if top.load is not None:
            values[_NAMES[top.load.base]] = POISON
            mtval = POISON + top.load.offset & 0xFFFF_FFFF
    csr = {
        "MSTATUS": 0x0000_1881,
        "MTVEC": 0x4038_0001,
        "MCAUSE": LOAD_ACCESS_FAULT,
        "MTVAL": mtval,
        "MHARTID": 0,
    }
    return values | csr
