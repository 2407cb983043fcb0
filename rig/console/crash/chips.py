"""What the architectures and chips print: registers, exception causes, address spaces."""

from __future__ import annotations

import re
from collections.abc import Mapping

XTENSA_REGISTERS = frozenset(
    ["PC", "PS", "SAR", "EXCCAUSE", "EXCVADDR", "LBEG", "LEND", "LCOUNT"]
    + [f"A{n}" for n in range(16)]
    + [f"EPC{n}" for n in range(1, 8)]
)
"""ESP-IDF `panic_arch.c` (Xtensa)."""

RISCV_REGISTERS = frozenset(
    ["MEPC", "RA", "SP", "GP", "TP", "S0/FP", "MSTATUS", "MTVEC", "MCAUSE", "MTVAL", "MHARTID"]
    + ["MXSTATUS", "MHCR", "MINTSTATUS", "MINTTHRESH", "UEPC", "UTVAL", "UCAUSE", "USTATUS"]
    + [f"T{n}" for n in range(7)]
    + [f"S{n}" for n in range(12)]
    + [f"A{n}" for n in range(8)]
)
"""ESP-IDF `panic_arch.c` (RISC-V)."""

REGISTERS = XTENSA_REGISTERS | RISCV_REGISTERS

_XTENSA_ONLY = frozenset({"PC", "PS", "SAR", "EXCCAUSE", "EXCVADDR", "LBEG", "LEND", "LCOUNT"})
_RISCV_ONLY = frozenset({"MEPC", "RA", "SP", "GP", "TP", "MSTATUS", "MTVEC", "MCAUSE", "MTVAL"})

XTENSA_CAUSES = {
    0: "IllegalInstruction", 1: "Syscall", 2: "InstructionFetchError", 3: "LoadStoreError",
    4: "Level1Interrupt", 5: "Alloca", 6: "IntegerDivideByZero", 7: "PCValue", 8: "Privileged",
    9: "LoadStoreAlignment", 12: "InstrPDAddrError", 13: "LoadStorePIFDataError",
    14: "InstrPIFAddrError", 15: "LoadStorePIFAddrError", 16: "InstTLBMiss", 17: "InstTLBMultiHit",
    18: "InstFetchPrivilege", 20: "InstrFetchProhibited", 24: "LoadStoreTLBMiss",
    25: "LoadStoreTLBMultihit", 26: "LoadStorePrivilege", 28: "LoadProhibited",
    29: "StoreProhibited", 32: "Cp0Dis", 33: "Cp1Dis", 34: "Cp2Dis", 35: "Cp3Dis", 36: "Cp4Dis",
    37: "Cp5Dis", 38: "Cp6Dis", 39: "Cp7Dis",
}  # fmt: skip
"""EXCCAUSE by number, in the words of ESP-IDF's panic handler."""

RISCV_CAUSES = {
    0: "Instruction address misaligned", 1: "Instruction access fault", 2: "Illegal instruction",
    3: "Breakpoint", 4: "Load address misaligned", 5: "Load access fault",
    6: "Store address misaligned", 7: "Store access fault", 8: "Environment call from U-mode",
    9: "Environment call from S-mode", 11: "Environment call from M-mode",
    12: "Instruction page fault", 13: "Load page fault", 15: "Store page fault",
}  # fmt: skip
"""MCAUSE by number, in the words of ESP-IDF's panic handler."""

_REASONS = (
    *XTENSA_CAUSES.values(),
    *RISCV_CAUSES.values(),
    "Unknown reason",
    "Unhandled debug exception",
    "Double exception",
    "Unhandled kernel exception",
    "Coprocessor exception",
    "Interrupt wdt timeout on CPU0",
    "Interrupt wdt timeout on CPU1",
    "Cache disabled but cached memory region accessed",
    "Cache error",
    "Stack protection fault",
    "Memory protection fault",
)

_XTENSA_CHIPS = frozenset({"esp32", "esp32s2", "esp32s3"})

_BANNER_CHIP = re.compile(r"ESP-ROM:(esp32[a-z]*\d*?)(?=-|\s|$)", re.IGNORECASE)


def kind_of(reason: str) -> str:
    """The kind of crash that a panic's reason (the text in parentheses) tells of."""
    low = reason.lower()
    if "wdt timeout" in low or "interrupt watchdog" in low:
        return "int_wdt"
    if "stack protection" in low or "stack canary" in low:
        return "stack_overflow"
    if "memory protection" in low:
        return "memprot"
    return "panic"


def completed(torn: str) -> str:
    """The one known reason that begins with `torn` (at least four letters), else `torn`."""
    low = torn.lower()
    known = {r for r in _REASONS if r.lower().startswith(low)} if len(low) >= 4 else set()
    return known.pop() if len(known) == 1 else torn


def chip_of_banner(text: str) -> str | None:
    """The chip that a ROM banner names: `ESP-ROM:esp32c3-...`, or `ets Jun  8 2016` (ESP32)."""
    if match := _BANNER_CHIP.search(text):
        return match.group(1).lower()
    return "esp32" if re.search(r"ets [A-Z][a-z]{2} +\d+ 201[6-9]", text) else None


def arch_of_chip(chip: str | None) -> str | None:
    """`xtensa` or `riscv`, by the chip's name."""
    if chip is None:
        return None
    return "xtensa" if chip in _XTENSA_CHIPS else "riscv"


def arch_of_registers(names: Mapping[str, str]) -> str | None:
    """`xtensa` or `riscv`, by the registers that were dumped."""
    if not _RISCV_ONLY.isdisjoint(names):
        return "riscv"
    return None if _XTENSA_ONLY.isdisjoint(names) else "xtensa"


def chip_of_addresses(arch: str | None, code: int | None, stack: int | None) -> str | None:
    """The chip that an address space gives away, or None where several share it.

    Source: the SoC memory maps in ESP-IDF (`soc.h`, `SOC_IRAM_LOW`, `SOC_DRAM_LOW`).
    """
    if arch == "xtensa":
        if code is not None and 0x4037_0000 <= code < 0x4040_0000:
            return "esp32s3"
        if code is not None and 0x4200_0000 <= code < 0x4400_0000:
            return "esp32s3"
        if code is not None and 0x400C_0000 <= code < 0x4040_0000:
            return "esp32"
        return None
    if arch == "riscv" and stack is not None and 0x4FF0_0000 <= stack < 0x5000_0000:
        return "esp32p4"
    return None
