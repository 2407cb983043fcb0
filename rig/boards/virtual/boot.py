"""From reset to the application: what the mask ROM and the second-stage loader check and print.

Texts: `facts/esp-boot-and-flashing.md`, ESP-IDF 5.5's bootloader_support, logs of C3 boards.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from rig.boards.virtual.firmware import AppImage, parse_app, text
from rig.boards.virtual.flash import FlashError, NorFlash
from rig.boards.virtual.nvs import Nvs
from rig.boards.virtual.registers import REVISION_MINOR, in_ram
from rig.boards.virtual.rom import CHIP_ID, checksum
from rig.boards.virtual.system import Reset, Restart, System

if TYPE_CHECKING:
    from rig.boards.virtual.uart import Uart

WATCHDOG_SECONDS = 1.0
"""Until the ROM's flash-boot watchdog (timer group 0) resets a boot that hangs."""
FLOOD_BYTES_PER_SECOND = 95_000
"""What a C3 ROM makes of blank flash, as measured."""
_MODES = {0: "QIO", 1: "QOUT", 2: "DIO", 3: "DOUT"}
_CLOCK_DIVIDERS, _SPEEDS = {0: 2, 1: 3, 2: 4, 15: 1}, {0: 40, 1: 26, 2: 20, 15: 80}
_MAPPED = (0x3C000000 >> 23, 0x42000000 >> 23)
"""The 8 MiB windows through which the CPU sees flash: data, instructions."""
_APP, _DATA = 0, 1
_DATA_USAGE = {0: "OTA data", 1: "RF data", 2: "WiFi data", 4: "NVS keys", 5: "efuse"}


class Header(NamedTuple):
    """The head of an image (`esp_image_header_t`)."""

    magic: int
    segments: int
    mode: int
    speed: int
    entry: int
    chip: int
    hashed: int

    @classmethod
    def read(cls, flash: NorFlash, at: int) -> Header:
        """The header at `at`."""
        return cls._make(struct.unpack("<BBBBI4xH9xB", flash.read(at, 24)))


class Partition(NamedTuple):
    """An entry of the partition table."""

    kind: int
    subtype: int
    offset: int
    size: int
    label: str

    def usage(self) -> str:
        """What the loader calls it in its list."""
        if self.kind == _APP:
            return {0: "factory app", 0x20: "test app"}.get(self.subtype, "OTA app")
        return _DATA_USAGE.get(self.subtype, "Unknown data") if self.kind == _DATA else "unknown"


async def flood(uart: Uart, word: int) -> NoReturn:
    """Print `invalid header` for ever, at the rate of the real ROM."""
    line = f"invalid header: {word:#010x}\r\n".encode()
    period = 0.05
    while True:
        uart.write(line * int(FLOOD_BYTES_PER_SECOND * period / len(line)))
        await asyncio.sleep(period)


async def first_stage(system: System, flash: NorFlash, uart: Uart) -> bytes:
    """The ROM: load and check the bootloader at 0x0; its first segment's bytes.

    Raises `Restart` when the watchdog ends a failed boot; never returns from blank flash.
    """
    image = Header.read(flash, 0)
    if image.magic != 0xE9:
        await flood(uart, int.from_bytes(flash.read(0, 4), "little"))
    system.say("SPIWP:0xee")
    divider = _CLOCK_DIVIDERS.get(image.speed & 15, 1)
    system.say(f"mode:{_MODES.get(image.mode, 'SLOW_READ')}, clock div:{divider}")
    at, check, runs, first = 24, 0xEF, True, b""
    for number in range(image.segments):
        address, size = struct.unpack("<II", flash.read(at, 8))
        system.say(f"load:{address:#010x},len:{size:#x}")
        if size % 4 or size >= 1 << 20 or at + 8 + size > len(flash) - 64 or number >= 16:
            await _give_up(system, "Invalid image block, can't boot.", "ets_main.c 333 ")
        data = flash.read(at + 8, size)
        runs = runs and in_ram(address, size)
        first = first or data
        check ^= checksum(data) ^ 0xEF
        at += 8 + size
    end = at | 15
    stored = flash.read(end, 1)[0]
    if stored != check:
        told = f"Checksum failure. Calculated {check:#04x} stored {stored:#04x}"
        await _give_up(system, told, "ets_main.c 333 ")
    calculated = hashlib.sha256(flash.read(0, end + 1)).hexdigest()
    expected = flash.read(end + 1, 32).hex()
    if image.hashed == 1 and calculated != expected:
        system.say(f"SHA-256 comparison failed:\nCalculated: {calculated}\nExpected: {expected}")
        system.say("Attempting to boot anyway...")
    system.say(f"entry {image.entry:#010x}")
    if not runs or not in_ram(image.entry):  # the CPU faults in code that is none of its own
        await _give_up(system)
    return first


async def _give_up(system: System, *lines: str) -> NoReturn:
    for line in lines:
        system.say(line)
    await asyncio.sleep(WATCHDOG_SECONDS)
    raise Restart(Reset.TG0WDT_SYS_RST)


class BadImage(Exception):
    """The loader refuses an image: `args` are tag and text of the line it prints."""


async def second_stage(system: System, flash: NorFlash, descriptor: bytes) -> tuple[AppImage, Nvs]:
    """The bootloader: read the partition table, check and load the application.

    Raises `Restart` when nothing is bootable, and `FirmwareError` for an application that is sound
    but has no descriptor.
    """
    idf, compiled = "v5.5.4", "Jan  1 2026 00:00:00"
    if len(descriptor) >= 80 and descriptor[0] == 0x50:  # `esp_bootloader_desc_t`
        idf, compiled = map(text, struct.unpack_from("<32s24s", descriptor, 8))
    head = Header.read(flash, 0)
    for tag, line in (
        ("boot", f"ESP-IDF {idf} 2nd stage bootloader"),
        ("boot", f"compile time {compiled}"),
        ("boot", f"chip revision: v0.{REVISION_MINOR}"),
        ("boot", "efuse block revision: v1.3"),
        ("boot.esp32c3", f"SPI Speed      : {_SPEEDS.get(head.speed & 15, 40)}MHz"),
        ("boot.esp32c3", f"SPI Mode       : {_MODES.get(head.mode, 'DIO')}"),
        ("boot.esp32c3", f"SPI Flash Size : {1 << (head.speed >> 4)}MB"),
        ("boot", "Enabling RNG early entropy source..."),
    ):
        system.log("I", tag, line)
    try:
        partitions = read_partitions(flash)
    except ValueError as error:
        system.log("E", "flash_parts", str(error))
        system.log("E", "boot", "Failed to verify partition table")
        return await _restart(system, "load partition table error!")
    _list(system, partitions)
    for part in sorted(each for each in partitions if each.kind == _APP):
        try:
            data = _load_app(system, flash, part)
        except (BadImage, FlashError) as error:
            tag, why = error.args if isinstance(error, BadImage) else ("esp_image", str(error))
            system.log("E", tag, why)
            slot = f"OTA app partition slot {part.subtype - 0x10}"
            which = slot if part.subtype else "Factory app partition"
            system.log("E", "boot", f"{which} is not bootable")
            continue
        system.log("I", "boot", f"Loaded app from partition at offset {part.offset:#x}")
        system.log("I", "boot", "Disabling RNG early entropy source...")
        nvs = [Nvs(flash, p.offset, p.size) for p in partitions if p[:2] == (_DATA, 2)]
        return parse_app(data), nvs[0] if nvs else Nvs(flash, 0, 0)
    return await _restart(system, "No bootable app partitions in the partition table")


async def _restart(system: System, why: str) -> NoReturn:
    system.log("E", "boot", why)
    await asyncio.sleep(0.1)
    raise Restart


def _list(system: System, partitions: list[Partition]) -> None:
    lines = [
        f"{number:2d} {part.label:<16} {part.usage():<16} {part.kind:02x} {part.subtype:02x} "
        f"{part.offset:08x} {part.size:08x}"
        for number, part in enumerate(partitions)
    ]
    columns = "## Label            Usage          Type ST Offset   Length"
    for line in ("Partition Table:", columns, *lines, "End of partition table"):
        system.log("I", "boot", line)


def read_partitions(flash: NorFlash, at: int = 0x8000) -> list[Partition]:
    """The partition table (`esp_partition_table_verify`). Raises `ValueError` as it would log."""
    table = flash.read(at, 0xC00)
    found: list[Partition] = []
    for number in range(len(table) // 32):
        raw = table[number * 32 : number * 32 + 32]
        magic = int.from_bytes(raw[:2], "little")
        if magic == 0x50AA:
            kind, subtype, offset, size, label = struct.unpack_from("<BBII16s", raw, 2)
            part = Partition(kind, subtype, offset, size, text(label))
            if part.offset + part.size > len(flash):
                raise ValueError(
                    f"partition {number} invalid - offset {part.offset:#x} size {part.size:#x} "
                    f"exceeds flash chip size {len(flash):#x}"
                )
            found.append(part)
        elif magic == 0xEBEB:
            digest = hashlib.md5(table[: number * 32], usedforsecurity=False).digest()
            if digest != raw[16:]:
                raise ValueError("Incorrect MD5 checksum")
        elif raw[:4] == b"\xff\xff\xff\xff":
            return found
        else:
            raise ValueError(f"partition {number} invalid magic number {magic:#x}")
    raise ValueError("partition table has no terminating entry, not valid")


def _load_app(system: System, flash: NorFlash, part: Partition) -> bytes:
    """Check and load an application as `esp_image_load` does. Raises `BadImage`."""
    at = part.offset
    image = Header.read(flash, at)
    if image.magic != 0xE9:
        why = f"image at {at:#x} has invalid magic byte (nothing flashed here?)"
        raise BadImage("esp_image", why)
    if image.chip != CHIP_ID:
        raise BadImage("boot_comm", f"mismatch chip ID, expected {CHIP_ID}, found {image.chip}")
    if image.segments > 16:
        raise BadImage(
            "esp_image", f"image at {at:#x} segment count {image.segments} exceeds max 16"
        )
    check, here = 0xEF, at + 24
    for number in range(image.segments):
        address, size = struct.unpack("<II", flash.read(here, 8))
        if size % 4 or size >= 1 << 24 or here + 8 + size > len(flash):
            raise BadImage("esp_image", f"invalid segment length {size:#x}")
        how = "load" if in_ram(address) else "map" if address >> 23 in _MAPPED else ""
        system.log(
            "I",
            "esp_image",
            f"segment {number}: paddr={here + 8:08x} vaddr={address:08x} "
            f"size={size:05x}h ({size:6d}) {how}",
        )
        system.spend(size / 6e6)
        check ^= checksum(flash.read(here + 8, size)) ^ 0xEF
        here += 8 + size
    end = at + ((here - at) | 15) + 1
    hashed = image.hashed == 1
    stored = flash.read(end - 1, 1)[0]
    if stored != check:
        raise BadImage("esp_image", f"Checksum failed. Calculated {check:#x} read {stored:#x}")
    total = end - at + 32 * hashed
    if total > part.size:
        why = f"Image length {total} doesn't fit in partition length {part.size}"
        raise BadImage("esp_image", why)
    body = flash.read(at, end - at)
    if hashed and hashlib.sha256(body).digest() != flash.read(end, 32):
        raise BadImage("esp_image", "Image hash failed - image is corrupt")
    return body
