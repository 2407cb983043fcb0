"""Memory and peripheral registers as far as a loader touches them: RAM, eFuses, SPI, watchdog.

Addresses: ESP32-C3 Technical Reference Manual, and esptool's `targets/esp32c3.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from rig.boards.virtual.flash import NorFlash

DRAM = range(0x3FC80000, 0x3FCE0000)
IRAM = range(0x4037C000, 0x403E0000)
SPI = 0x60002000
EFUSE_BLOCK1 = 0x60008844
RTC_WDT_CONFIG0, RTC_WDT_PROTECT, WDT_KEY = 0x60008090, 0x600080A8, 0x50D83AA1

REVISION_MINOR = 4
"""Chip revision v0.4."""


def in_ram(address: int, size: int = 1) -> bool:
    """Whether `size` bytes at `address` lie in internal RAM."""
    return any(address in bank and address + size <= bank.stop for bank in (DRAM, IRAM))


class Registers:
    """Word-wide memory; RAM keeps its content over resets, peripherals do not."""

    def __init__(self, mac: bytes, flash: NorFlash, watchdog: Callable[[], None]) -> None:
        """`watchdog` is called when a loader arms the RTC watchdog, which is how it resets."""
        self._flash = flash
        self._watchdog = watchdog
        self.attached = False
        """Whether the SPI pins lead to the flash (`SPI_ATTACH`)."""
        package, flash_4mb = 0, 1
        self._fixed = {
            0x40001000: 0x1B31506F,  # ROM word that older loaders tell a C3 v0.4 by
            EFUSE_BLOCK1: int.from_bytes(mac[2:6]),
            EFUSE_BLOCK1 + 4: int.from_bytes(mac[:2]),
            EFUSE_BLOCK1 + 12: package << 21 | REVISION_MINOR << 18 | 3 << 24 | flash_4mb << 27,
            EFUSE_BLOCK1 + 16: 2,  # flash vendor: GigaDevice
            0x6000886C: 1,  # eFuse block revision v1.3, with the 3 above
            0x60000014: 347,  # UART clock divider: 40 MHz / 115200
        }
        self._words: dict[int, int] = {}

    def reset(self) -> None:
        """Peripherals fall back; RAM stays."""
        self._words = {a: v for a, v in self._words.items() if a < SPI & 0xF0000000}
        self.attached = False

    def lose(self) -> None:
        """Power is gone, and RAM with it."""
        self._words.clear()
        self.attached = False

    def read(self, address: int) -> int:
        """The word at `address`; 0 where nothing is."""
        address = _one_name(address & ~3)
        return self._fixed.get(address, self._words.get(address, 0))

    def write(self, address: int, value: int, mask: int = 0xFFFFFFFF) -> None:
        """Write a word under `mask`; the few registers that act, act."""
        address = _one_name(address & ~3)
        old = self._words.get(address, 0)
        self._words[address] = old & ~mask | value & mask
        if address == SPI and value & 1 << 18:
            self._run_spi_command()
        elif address == RTC_WDT_CONFIG0 and value >> 31 and self.read(RTC_WDT_PROTECT) == WDT_KEY:
            self._watchdog()

    def load(self, address: int, data: bytes) -> None:
        """Put a block of bytes into RAM. Raises `ValueError` where there is none."""
        if not in_ram(address, len(data)) or address % 4:
            raise ValueError(f"no RAM at {address:#x}+{len(data):#x}")
        data = data.ljust(-(-len(data) // 4) * 4, b"\0")
        base = _one_name(address)
        words = struct.unpack(f"<{len(data) // 4}I", data)
        self._words.update(zip(range(base, base + len(data), 4), words, strict=True))

    def holds(self, address: int, size: int) -> bytes:
        """`size` bytes of RAM, from a word boundary."""
        words = (self.read(address + at) for at in range(0, size, 4))
        return b"".join(word.to_bytes(4, "little") for word in words)[:size]

    def loaded(self, address: int) -> bool:
        """Whether anything was ever written to the word at `address`."""
        return _one_name(address & ~3) in self._words

    def _run_spi_command(self) -> None:
        """The user-defined command of SPI1: opcode, address and lengths from its registers."""
        user, user1 = self.read(SPI + 0x18), self.read(SPI + 0x1C)
        opcode = self.read(SPI + 0x20) & 0xFF
        address = self.read(SPI + 0x04) if user & 1 << 30 else 0
        address &= (1 << (user1 >> 26) + 1) - 1
        count = ((self.read(SPI + 0x28) & 0x3FF) + 8) // 8 if user & 1 << 28 else 0
        out = ((self.read(SPI + 0x24) & 0x3FF) + 8) // 8 if user & 1 << 27 else 0
        sent = self.holds(SPI + 0x58, min(out, 64))
        count = min(count, 64)
        answer = b"\xff" * count
        if self.attached:
            answer = self._flash.command(opcode, address, count, sent)
        for at in range(0, count, 4):
            self._words[SPI + 0x58 + at] = int.from_bytes(answer[at : at + 4], "little")
        self._words[SPI] = 0  # done: the hardware clears the bit


def _one_name(address: int) -> int:
    """Internal SRAM 1 has two addresses, one on each bus: use the data bus's."""
    return address - 0x700000 if 0x40380000 <= address < 0x403E0000 else address
