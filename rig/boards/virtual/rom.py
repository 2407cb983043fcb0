"""The serial loader: the mask ROM's command set, and the stub's once that was uploaded.

Learned from esptool's `loader.py` and from its traces; see `facts/esp-boot-and-flashing.md`.
"""

from __future__ import annotations

import asyncio
import enum
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial, reduce
from operator import xor
from typing import TYPE_CHECKING

from rig.boards.virtual import slip
from rig.boards.virtual.flash import SECTOR, FlashError, NorFlash
from rig.boards.virtual.registers import Registers

if TYPE_CHECKING:
    from rig.boards.virtual.uart import Uart

INVALID_MESSAGE, FAILED, BAD_CHECKSUM = 0x05, 0x06, 0x07
"""Reasons in a ROM's error status."""
BAD_LENGTH, BAD_DATA_CHECKSUM, SPI_FAILED, NOT_IN_FLASH_MODE = 0xC0, 0xC1, 0xC4, 0xC6
INFLATE_ERROR, NOT_ENOUGH, TOO_MUCH, UNKNOWN_COMMAND = 0xC7, 0xC8, 0xC9, 0xFF
"""Reasons in a stub's error status."""
STUB_MARK = b"OHAI"
CHIP_ID = 5


class Leave(enum.Enum):
    """Why the loader ended."""

    REBOOT = "software reset"
    RUN = "boot from flash"
    CRASHED = "jumped to code that is none"


class CommandError(Exception):
    """A command failed; `rom` and `stub` are the reasons that each of them gives."""

    def __init__(self, rom: int, stub: int) -> None:
        super().__init__(f"status {rom:#04x}/{stub:#04x}")
        self.rom = rom
        self.stub = stub


@dataclass(slots=True)
class Download:
    """A write to flash under way: where the next byte goes, how many are still to come."""

    at: int
    left: int
    erased: int
    """First address that is not erased yet (the stub erases as it goes)."""
    sequence: int = 0
    inflate: zlib._Decompress | None = None


class Loader:
    """One stay in download mode. `serve` answers until told to leave."""

    def __init__(self, uart: Uart, flash: NorFlash, registers: Registers) -> None:
        self._uart = uart
        self._flash = flash
        self._registers = registers
        self._frames = slip.Decoder()
        self._queue: list[bytes] = []
        self.stub = False
        """Whether the uploaded stub answers, not the ROM."""
        self._op = self._last_op = 0
        self._ram_at = self._ram_block = 0
        self._download: Download | None = None
        self._commands: dict[int, Callable[[bytes], Awaitable[Leave | None]]] = {
            0x02: partial(self._flash_begin, deflated=False),
            0x03: partial(self._flash_data, deflated=False),
            0x04: self._flash_end,
            0x05: self._mem_begin,
            0x06: self._mem_end,
            0x07: self._mem_data,
            0x08: self._sync,
            0x09: self._write_reg,
            0x0A: self._read_reg,
            0x0B: self._nothing,  # SPI_SET_PARAMS
            0x0D: self._attach,
            0x0E: self._read_slow,
            0x0F: self._change_baud,
            0x10: partial(self._flash_begin, deflated=True),
            0x11: partial(self._flash_data, deflated=True),
            0x12: self._flash_end,
            0x13: self._md5,
            0x14: self._security_info,
            0xD0: self._erase,
            0xD1: self._erase,
            0xD2: self._read_flash,
            0xD3: self._leave,
        }

    async def serve(self) -> Leave:
        """Answer commands until one of them leaves the loader. Bad packets are never fatal."""
        while True:
            packet = await self._packet()
            if len(packet) < 8 or packet[0] != 0:
                continue
            _, self._op, size, check = struct.unpack_from("<BBHI", packet)
            try:
                left = await self._command(packet[8:], size, check)
            except (struct.error, ValueError):
                await self._fail(INVALID_MESSAGE, BAD_LENGTH)
            except FlashError:
                await self._fail(0x08, SPI_FAILED)
            except CommandError as error:
                await self._fail(error.rom, error.stub)
            else:
                if left is not None:
                    return left
                self._last_op = self._op

    async def _command(self, data: bytes, size: int, check: int) -> Leave | None:
        if len(data) != size:
            raise CommandError(INVALID_MESSAGE, BAD_LENGTH)
        handler = self._commands.get(self._op)
        if handler is None or (self._op == 0x0E if self.stub else self._op >= 0xD0):
            if not self.stub:
                self._op = self._last_op  # the ROM answers under the previous command's number
            raise CommandError(INVALID_MESSAGE, UNKNOWN_COMMAND)
        if self._op in (0x03, 0x07, 0x11) and checksum(data[16:]) != check & 0xFF:
            raise CommandError(BAD_CHECKSUM, BAD_DATA_CHECKSUM)
        return await handler(data)

    # -- commands: each answers by itself, and says whether it leaves the loader -----------------

    async def _nothing(self, _data: bytes) -> None:
        await self._reply()

    async def _leave(self, _data: bytes) -> Leave:
        return Leave.REBOOT

    async def _sync(self, _data: bytes) -> None:
        for _ in range(8):
            await self._reply(0 if self.stub else 0x20120707)

    async def _change_baud(self, data: bytes) -> None:
        (baud,) = struct.unpack_from("<I", data)
        await self._reply()
        self._uart.baud = max(300, min(baud, 5_000_000))

    async def _attach(self, _data: bytes) -> None:
        self._registers.attached = True
        await self._reply()

    async def _read_reg(self, data: bytes) -> None:
        (address,) = struct.unpack("<I", data)
        await self._reply(self._registers.read(address))

    async def _write_reg(self, data: bytes) -> None:
        for address, value, mask, _delay_us in struct.iter_unpack("<IIII", data):
            self._registers.write(address, value, mask)
        await self._reply()

    async def _security_info(self, _data: bytes) -> None:
        """Flags, flash encryption count, 7 key purposes, chip id, API version: nothing burnt."""
        await self._reply(data=struct.pack("<IB7xII", 0, 0, CHIP_ID, 3))

    async def _mem_begin(self, data: bytes) -> None:
        _size, _blocks, self._ram_block, self._ram_at = struct.unpack("<IIII", data)
        await self._reply()

    async def _mem_data(self, data: bytes) -> None:
        size, sequence = struct.unpack_from("<II", data)
        if size != len(data) - 16:
            raise CommandError(INVALID_MESSAGE, BAD_LENGTH)
        try:
            self._registers.load(self._ram_at + sequence * self._ram_block, data[16:])
        except ValueError as error:
            raise CommandError(FAILED, FAILED) from error
        await self._reply()

    async def _mem_end(self, data: bytes) -> Leave | None:
        stay, entry = struct.unpack("<II", data)
        await self._reply()
        if stay or self.stub:
            return None
        if not self._registers.loaded(entry):
            return Leave.CRASHED
        self.stub = True
        self._registers.attached = True  # the stub attaches the flash itself
        await self._uart.send(slip.encode(STUB_MARK))
        return None

    async def _flash_begin(self, data: bytes, *, deflated: bool) -> None:
        """The ROM erases here; the stub erases as it writes."""
        size, _blocks, _block, at = struct.unpack_from("<IIII", data)
        self._flash.read(at, size)
        erased = at - at % SECTOR
        if not self.stub and size:
            await self._flash.erase(at, size)
            erased = -(-(at + size) // SECTOR) * SECTOR
        inflate = zlib.decompressobj() if deflated else None
        self._download = Download(at, size, erased, inflate=inflate)
        await self._reply()

    async def _flash_data(self, data: bytes, *, deflated: bool) -> None:
        size, sequence = struct.unpack_from("<II", data)
        download = self._download
        if download is None or (download.inflate is not None) is not deflated:
            raise CommandError(FAILED, NOT_IN_FLASH_MODE)
        if size != len(data) - 16:
            raise CommandError(INVALID_MESSAGE, BAD_LENGTH)
        if sequence >= download.sequence:  # else it repeats what was written: its reply was lost
            download.sequence = sequence + 1
            if download.inflate is None:
                await self._put(download, data[16:][: download.left])  # the last block is padded
            else:
                await self._inflate(download, download.inflate, data[16:])
        await self._reply()

    async def _inflate(self, download: Download, inflate: zlib._Decompress, content: bytes) -> None:
        while content and not inflate.eof:
            try:
                plain = inflate.decompress(content, 16 * SECTOR)
            except zlib.error as error:
                raise CommandError(0x0B, INFLATE_ERROR) from error
            content = inflate.unconsumed_tail
            if len(plain) > download.left:
                raise CommandError(FAILED, TOO_MUCH)
            await self._put(download, plain)

    async def _put(self, download: Download, content: bytes) -> None:
        end = download.at + len(content)
        if end > download.erased:
            await self._flash.erase(download.erased, end - download.erased)
            download.erased = -(-end // SECTOR) * SECTOR
        await self._flash.program(download.at, content)
        download.at = end
        download.left -= len(content)

    async def _flash_end(self, data: bytes) -> Leave | None:
        (stay,) = struct.unpack_from("<I", data)
        download, self._download = self._download, None
        if self.stub and download is None:
            raise CommandError(FAILED, NOT_IN_FLASH_MODE)
        if self.stub and download is not None and download.left > 0:
            raise CommandError(FAILED, NOT_ENOUGH)
        await self._reply()
        if stay:
            return None if self.stub else Leave.RUN
        return Leave.REBOOT

    async def _md5(self, data: bytes) -> None:
        address, size = struct.unpack_from("<II", data)
        digest = self._flash.md5(address, size)
        await self._reply(data=digest if self.stub else digest.hex().encode())

    async def _erase(self, data: bytes) -> None:
        """The whole chip, or the region that is named."""
        address, size = struct.unpack("<II", data) if self._op == 0xD1 else (0, len(self._flash))
        if address % SECTOR or size % SECTOR:
            raise CommandError(FAILED, 0x32)
        await self._flash.erase(address, size)
        await self._reply()

    async def _read_slow(self, data: bytes) -> None:
        """The ROM's read: 64 bytes at most, always a full buffer."""
        address, size = struct.unpack("<II", data)
        if size > 64:
            raise CommandError(0x0A, 0x0A)
        await self._reply(data=self._flash.read(address, size).ljust(64, b"\0"))

    async def _read_flash(self, data: bytes) -> None:
        """The stub's streamed read: at most `window` blocks unacknowledged, then an MD5."""
        address, size, block, window = struct.unpack("<IIII", data)
        self._flash.read(address, size)  # out of bounds fails before the first block
        if not 0 < block <= SECTOR or not window:
            raise CommandError(FAILED, BAD_LENGTH)
        await self._reply()
        sent = acknowledged = 0
        while acknowledged < size:
            while sent < size and sent - acknowledged < window * block:
                part = self._flash.read(address + sent, min(block, size - sent))
                await self._uart.send(slip.encode(part))
                sent += len(part)
            answer = await self._packet()
            if len(answer) != 4:  # the host gave up; this may be its next command
                self._queue.insert(0, answer)
                return
            acknowledged = max(acknowledged, min(sent, int.from_bytes(answer, "little")))
        await self._uart.send(slip.encode(self._flash.md5(address, size)))

    # -- frames -----------------------------------------------------------------------------------

    async def _packet(self) -> bytes:
        while not self._queue:
            self._queue = self._frames.feed(await self._uart.read())
            if not self._queue:
                await asyncio.sleep(0)
        return self._queue.pop(0)

    async def _reply(self, value: int = 0, data: bytes = b"") -> None:
        await self._send(value, data + bytes(2 if self.stub else 4))

    async def _fail(self, rom: int, stub: int) -> None:
        await self._send(0, bytes([1, stub]) if self.stub else bytes([1, rom, 0, 0]))

    async def _send(self, value: int, body: bytes) -> None:
        head = struct.pack("<BBHI", 1, self._op, len(body), value)
        await self._uart.send(slip.encode(head + body))


def checksum(data: bytes) -> int:
    """XOR of all bytes, from 0xEF: the loader's and the image format's checksum."""
    wide = len(data) // 8 * 8
    folded = reduce(xor, struct.unpack(f"<{wide // 8}Q", data[:wide]), 0)
    return reduce(xor, folded.to_bytes(8, "little") + data[wide:], 0xEF)
