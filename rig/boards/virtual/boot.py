"""From reset to the application: what the mask ROM and the second-stage loader check and print.

Texts: `facts/esp-boot-and-flashing.md`, ESP-IDF 5.5's bootloader_support, logs of C3 boards.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from dataclasses import dataclass
from typing import Protocol

from rig.boards.virtual.firmware import AppImage, parse_app
from rig.boards.virtual.flash import NorFlash
from rig.boards.virtual.registers import REVISION_MINOR, in_ram
from rig.boards.virtual.rom import CHIP_ID, checksum
from rig.boards.virtual.system import RTC_SW_SYS_RST, Restart

RESET_NAMES = {
    0x1: "POWERON",
    0x3: "RTC_SW_SYS_RST",
    0x7: "TG0WDT_SYS_RST",
    0xC: "RTC_SW_CPU_RST",
    0x10: "RTCWDT_RTC_RST",
}
TG0WDT_SYS_RST = 0x7
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


class Console(Protocol):
    """Where boot code prints; printing takes its time on the chip's clock."""

    def say(self, text: str) -> None: ...
    def log(self, level: str, tag: str, text: str) -> None: ...
    def spend(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Header:
    """The head of an image (`esp_image_header_t`)."""

    count: int
    mode: int
    speed: int
    entry: int
    chip: int
    hashed: bool

    @classmethod
    def of(cls, raw: bytes) -> Header:
        """Read 24 bytes whose magic was checked."""
        _, count, mode, speed, entry, chip, hashed = struct.unpack("<BBBBI4xH8xxB", raw)
        return cls(count, mode, speed, entry, chip, hashed == 1)


@dataclass(frozen=True, slots=True)
class Partition:
    """An entry of the partition table."""

    label: str
    kind: int
    subtype: int
    offset: int
    size: int

    def usage(self) -> str:
        """What the loader calls it in its list."""
        if self.kind == _APP:
            return {0: "factory app", 0x20: "test app"}.get(self.subtype, "OTA app")
        return _DATA_USAGE.get(self.subtype, "Unknown data") if self.kind == _DATA else "unknown"


class SupportsWrite(Protocol):
    """Takes bytes without waiting."""

    def write(self, data: bytes) -> None: ...


async def flood(send: SupportsWrite, word: int) -> None:
    """Print `invalid header` for ever, at the rate of the real ROM."""
    line = f"invalid header: {word:#010x}\r\n".encode()
    period = 0.05
    while True:
        send.write(line * int(FLOOD_BYTES_PER_SECOND * period / len(line)))
        await asyncio.sleep(period)


async def first_stage(console: Console, flash: NorFlash, uart: SupportsWrite) -> bytes:
    """The ROM: load and check the bootloader at 0x0; its first segment's bytes.

    Raises `Restart` when the watchdog ends a failed boot; never returns from blank flash.
    """
    head = flash.read(0, 24)
    if head[0] != 0xE9:
        await flood(uart, int.from_bytes(head[:4], "little"))
    image = Header.of(head)
    console.say("SPIWP:0xee")
    divider = _CLOCK_DIVIDERS.get(image.speed & 15, 1)
    console.say(f"mode:{_MODES.get(image.mode, 'SLOW_READ')}, clock div:{divider}")
    at, check, runs, first = 24, 0xEF, True, b""
    for number in range(image.count):
        address, size = struct.unpack("<II", flash.read(at, 8))
        console.say(f"load:{address:#010x},len:{size:#x}")
        if size % 4 or size >= 1 << 20 or at + 8 + size > len(flash) - 64 or number >= 16:
            await _give_up(console, "Invalid image block, can't boot.", "ets_main.c 333 ")
        data = flash.read(at + 8, size)
        runs = runs and in_ram(address, size)
        first = first or data
        check ^= checksum(data) ^ 0xEF
        at += 8 + size
    end = at | 15
    stored = flash.read(end, 1)[0]
    if stored != check:
        text = f"Checksum failure. Calculated {check:#04x} stored {stored:#04x}"
        await _give_up(console, text, "ets_main.c 333 ")
    calculated = hashlib.sha256(flash.read(0, end + 1)).hexdigest()
    expected = flash.read(end + 1, 32).hex()
    if image.hashed and calculated != expected:
        console.say(f"SHA-256 comparison failed:\nCalculated: {calculated}\nExpected: {expected}")
        console.say("Attempting to boot anyway...")
    console.say(f"entry {image.entry:#010x}")
    if not runs or not in_ram(image.entry):  # the CPU faults in code that is none of its own
        await _give_up(console)
    return first


async def _give_up(console: Console, *lines: str) -> None:
    for line in lines:
        console.say(line)
    await asyncio.sleep(WATCHDOG_SECONDS)
    raise Restart(TG0WDT_SYS_RST)


@dataclass(frozen=True, slots=True)
class Booted:
    """What the loader hands over to."""

    image: AppImage
    partitions: tuple[Partition, ...]


class BadImage(Exception):
    """The loader refuses an image: `tag` and `text` of the line it prints."""

    def __init__(self, tag: str, text: str) -> None:
        super().__init__(f"{tag}: {text}")
        self.tag = tag
        self.text = text


async def second_stage(console: Console, flash: NorFlash, descriptor: bytes) -> Booted:
    """The bootloader: read the partition table, check and load the application.

    Raises `Restart` when nothing is bootable, and `FirmwareError` for an application that is sound
    but has no descriptor.
    """
    log = console.log
    idf, compiled = _bootloader_descriptor(descriptor)
    log("I", "boot", f"ESP-IDF {idf} 2nd stage bootloader")
    log("I", "boot", f"compile time {compiled}")
    log("I", "boot", f"chip revision: v0.{REVISION_MINOR}")
    log("I", "boot", "efuse block revision: v1.3")
    head = Header.of(flash.read(0, 24))
    log("I", "boot.esp32c3", f"SPI Speed      : {_SPEEDS.get(head.speed & 15, 40)}MHz")
    log("I", "boot.esp32c3", f"SPI Mode       : {_MODES.get(head.mode, 'DIO')}")
    log("I", "boot.esp32c3", f"SPI Flash Size : {1 << (head.speed >> 4)}MB")
    log("I", "boot", "Enabling RNG early entropy source...")
    try:
        partitions = read_partitions(flash)
    except ValueError as error:
        log("E", "flash_parts", str(error))
        log("E", "boot", "Failed to verify partition table")
        log("E", "boot", "load partition table error!")
        return await _restart()
    log("I", "boot", "Partition Table:")
    log("I", "boot", "## Label            Usage          Type ST Offset   Length")
    for number, part in enumerate(partitions):
        log(
            "I",
            "boot",
            f"{number:2d} {part.label:<16} {part.usage():<16} {part.kind:02x} {part.subtype:02x} "
            f"{part.offset:08x} {part.size:08x}",
        )
    log("I", "boot", "End of partition table")
    for part in sorted((p for p in partitions if p.kind == _APP), key=lambda p: p.subtype):
        try:
            data = _load_app(console, flash, part)
        except BadImage as error:
            log("E", error.tag, error.text)
            which = "Factory app partition" if part.subtype == 0 else "OTA app partition slot"
            slot = "" if part.subtype == 0 else f" {part.subtype - 0x10}"
            log("E", "boot", f"{which}{slot} is not bootable")
            continue
        log("I", "boot", f"Loaded app from partition at offset {part.offset:#x}")
        log("I", "boot", "Disabling RNG early entropy source...")
        return Booted(parse_app(data), tuple(partitions))
    log("E", "boot", "No bootable app partitions in the partition table")
    return await _restart()


async def _restart() -> Booted:
    await asyncio.sleep(0.1)
    raise Restart(RTC_SW_SYS_RST)


def _bootloader_descriptor(segment: bytes) -> tuple[str, str]:
    """Version and compile time out of `esp_bootloader_desc_t`, where the image has one."""
    if len(segment) < 80 or segment[0] != 0x50:
        return "v5.5.4", "Jan  1 2026 00:00:00"
    idf, when = struct.unpack_from("<32s24s", segment, 8)
    text = [raw.split(b"\0")[0].decode("latin-1") for raw in (idf, when)]
    return text[0], text[1]


def read_partitions(flash: NorFlash, at: int = 0x8000) -> list[Partition]:
    """The partition table (`esp_partition_table_verify`). Raises `ValueError` as it would log."""
    table = flash.read(at, 0xC00)
    found: list[Partition] = []
    for number in range(len(table) // 32):
        raw = table[number * 32 : number * 32 + 32]
        magic = int.from_bytes(raw[:2], "little")
        if magic == 0x50AA:
            kind, subtype, offset, size, label = struct.unpack_from("<BBII16s", raw, 2)
            if offset + size > len(flash):
                raise ValueError(
                    f"partition {number} invalid - offset {offset:#x} size {size:#x} "
                    f"exceeds flash chip size {len(flash):#x}"
                )
            name = label.split(b"\0")[0].decode("latin-1")
            found.append(Partition(name, kind, subtype, offset, size))
        elif magic == 0xEBEB:
            digest = hashlib.md5(table[: number * 32], usedforsecurity=False).digest()
            if digest != raw[16:]:
                raise ValueError("Incorrect MD5 checksum")
        elif raw[:4] == b"\xff\xff\xff\xff":
            return found
        else:
            raise ValueError(f"partition {number} invalid magic number {magic:#x}")
    raise ValueError("partition table has no terminating entry, not valid")


def _load_app(console: Console, flash: NorFlash, part: Partition) -> bytes:
    """Check and load an application as `esp_image_load` does. Raises `BadImage`."""
    at = part.offset
    head = flash.read(at, 24)
    if head[0] != 0xE9:
        raise BadImage(
            "esp_image", f"image at {at:#x} has invalid magic byte (nothing flashed here?)"
        )
    image = Header.of(head)
    if image.chip != CHIP_ID:
        raise BadImage("boot_comm", f"mismatch chip ID, expected {CHIP_ID}, found {image.chip}")
    if image.count > 16:
        raise BadImage("esp_image", f"image at {at:#x} segment count {image.count} exceeds max 16")
    check, here = 0xEF, at + 24
    for number in range(image.count):
        if here + 8 > len(flash):
            raise BadImage("esp_image", f"image at {at:#x} segment {number} is out of flash")
        address, size = struct.unpack("<II", flash.read(here, 8))
        if size % 4 or size >= 1 << 24 or here + 8 + size > len(flash):
            raise BadImage("esp_image", f"invalid segment length {size:#x}")
        how = "load" if in_ram(address) else "map" if address >> 23 in _MAPPED else ""
        console.log(
            "I",
            "esp_image",
            f"segment {number}: paddr={here + 8:08x} vaddr={address:08x} "
            f"size={size:05x}h ({size:6d}) {how}",
        )
        console.spend(size / 6e6)
        check ^= checksum(flash.read(here + 8, size)) ^ 0xEF
        here += 8 + size
    end = at + ((here - at) | 15) + 1
    stored = flash.read(end - 1, 1)[0]
    if stored != check:
        raise BadImage("esp_image", f"Checksum failed. Calculated {check:#x} read {stored:#x}")
    total = end - at + (32 if image.hashed else 0)
    if total > part.size:
        raise BadImage(
            "esp_image", f"Image length {total} doesn't fit in partition length {part.size}"
        )
    body = flash.read(at, end - at)
    if image.hashed and hashlib.sha256(body).digest() != flash.read(end, 32):
        raise BadImage("esp_image", "Image hash failed - image is corrupt")
    return body
