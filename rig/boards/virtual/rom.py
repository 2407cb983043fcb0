"""The serial loader: the mask ROM's command set, and the stub's once that was uploaded.

Learned from esptool's `loader.py` and from its traces; see `facts/esp-boot-and-flashing.md`.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Protocol

from rig.boards.virtual import slip
from rig.boards.virtual.flash import SECTOR, FlashError, NorFlash
from rig.boards.virtual.registers import Registers

INVALID_MESSAGE, FAILED, BAD_CHECKSUM = 0x05, 0x06, 0x07
"""Reasons in a ROM's error status."""
BAD_LENGTH, BAD_DATA_CHECKSUM, SPI_FAILED, NOT_IN_FLASH_MODE = 0xC0, 0xC1, 0xC4, 0xC6
INFLATE_ERROR, NOT_ENOUGH, TOO_MUCH, UNKNOWN_COMMAND = 0xC7, 0xC8, 0xC9, 0xFF
"""Reasons in a stub's error status."""
STUB_MARK = b"OHAI"
CHIP_ID = 5


class Wire(Protocol):
    """What the loader needs of the UART."""

    baud: int

    async def read(self) -> bytes: ...

    async def send(self, data: bytes) -> None: ...


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


@dataclass(slots=True)
class RamLoad:
    """A write to RAM under way."""

    at: int
    block: int


class Loader:
    """One stay in download mode. `serve` answers until told to leave."""

    def __init__(self, wire: Wire, flash: NorFlash, registers: Registers) -> None:
        self._wire = wire
        self._flash = flash
        self._registers = registers
        self._frames = slip.Decoder()
        self._queue: list[bytes] = []
        self.stub = False
        """Whether the uploaded stub answers, not the ROM."""
        self._last_op = 0
        self._ram = RamLoad(0, 0)
        self._download: Download | None = None
        self._commands: dict[int, Callable[[bytes], Awaitable[tuple[int, bytes]]]] = {
            0x02: self._flash_begin,
            0x03: self._flash_data,
            0x05: self._mem_begin,
            0x07: self._mem_data,
            0x09: self._write_reg,
            0x0A: self._read_reg,
            0x0B: self._nothing,
            0x0D: self._attach,
            0x10: self._deflate_begin,
            0x11: self._deflate_data,
            0x13: self._md5,
            0x14: self._security_info,
        }

    async def serve(self) -> Leave:
        """Answer commands until one of them leaves the loader. Bad packets are never fatal."""
        while True:
            packet = await self._packet()
            if len(packet) < 8 or packet[0] != 0:
                continue
            _, op, size, check = struct.unpack_from("<BBHI", packet)
            data = packet[8:]
            if len(data) != size:
                await self._fail(op, CommandError(INVALID_MESSAGE, BAD_LENGTH))
                continue
            left = await self._command(op, data, check)
            if left is not None:
                return left

    async def _command(self, op: int, data: bytes, check: int) -> Leave | None:
        try:
            if op in (0x04, 0x06, 0x08, 0x0F, 0x12) or (self.stub and op >= 0xD0):
                return await self._special(op, data)
            if op == 0x0E and not self.stub:
                await self._reply(op, 0, self._read_slow(data))
                return None
            handler = self._commands.get(op)
            if handler is None:
                await self._unknown(op)
                return None
            if op in (0x03, 0x07, 0x11) and checksum(data[16:]) != check & 0xFF:
                raise CommandError(BAD_CHECKSUM, BAD_DATA_CHECKSUM)
            value, answer = await handler(data)
            await self._reply(op, value, answer)
            self._last_op = op
        except (struct.error, ValueError):
            await self._fail(op, CommandError(INVALID_MESSAGE, BAD_LENGTH))
        except FlashError:
            await self._fail(op, CommandError(0x08, SPI_FAILED))
        except CommandError as error:
            await self._fail(op, error)
        return None

    # -- commands that answer in their own way ----------------------------------------------------

    async def _special(self, op: int, data: bytes) -> Leave | None:
        if op == 0x08:
            for _ in range(8):
                await self._reply(op, 0 if self.stub else 0x20120707)
        elif op == 0x0F:
            (baud,) = struct.unpack_from("<I", data)
            await self._reply(op, 0)
            self._wire.baud = max(300, min(baud, 5_000_000))
        elif op == 0x06:
            return await self._mem_end(data)
        elif op in (0x04, 0x12):
            return await self._flash_end(op, data)
        elif op == 0xD0:
            await self._flash.erase(0, len(self._flash))
            await self._reply(op, 0)
        elif op == 0xD1:
            address, size = struct.unpack("<II", data)
            if address % SECTOR or size % SECTOR:
                raise CommandError(FAILED, 0x32)
            await self._flash.erase(address, size)
            await self._reply(op, 0)
        elif op == 0xD2:
            await self._read_flash(data)
        elif op == 0xD3:
            return Leave.REBOOT
        else:
            await self._unknown(op)
        return None

    async def _mem_end(self, data: bytes) -> Leave | None:
        stay, entry = struct.unpack("<II", data)
        await self._reply(0x06, 0)
        if stay or self.stub:
            return None
        if not self._registers.loaded(entry):
            return Leave.CRASHED
        self.stub = True
        self._registers.attached = True  # the stub attaches the flash itself
        await self._wire.send(slip.encode(STUB_MARK))
        return None

    async def _flash_end(self, op: int, data: bytes) -> Leave | None:
        (stay,) = struct.unpack_from("<I", data)
        if self.stub and self._download is None:
            raise CommandError(FAILED, NOT_IN_FLASH_MODE)
        short = self._download is not None and self._download.left > 0
        self._download = None
        if short and self.stub:
            raise CommandError(FAILED, NOT_ENOUGH)
        await self._reply(op, 0)
        if stay:
            return None if self.stub else Leave.RUN
        return Leave.REBOOT

    async def _read_flash(self, data: bytes) -> None:
        """The stub's streamed read: at most `window` blocks unacknowledged, then an MD5."""
        address, size, block, window = struct.unpack("<IIII", data)
        self._flash.read(address, size)  # out of bounds fails before the first block
        if not 0 < block <= SECTOR or not window:
            raise CommandError(FAILED, BAD_LENGTH)
        await self._reply(0xD2, 0)
        sent = acknowledged = 0
        digest = hashlib.md5(usedforsecurity=False)
        while acknowledged < size:
            while sent < size and sent - acknowledged < window * block:
                part = self._flash.read(address + sent, min(block, size - sent))
                digest.update(part)
                await self._wire.send(slip.encode(part))
                sent += len(part)
            answer = await self._packet()
            if len(answer) != 4:  # the host gave up; this may be its next command
                self._queue.insert(0, answer)
                return
            acknowledged = max(acknowledged, min(sent, int.from_bytes(answer, "little")))
        await self._wire.send(slip.encode(digest.digest()))

    def _read_slow(self, data: bytes) -> bytes:
        """The ROM's read: 64 bytes at most, always a full buffer."""
        address, size = struct.unpack("<II", data)
        if size > 64:
            raise CommandError(0x0A, 0x0A)
        return self._flash.read(address, size).ljust(64, b"\0")

    # -- plain commands ---------------------------------------------------------------------------

    async def _nothing(self, _data: bytes) -> tuple[int, bytes]:
        return 0, b""

    async def _attach(self, _data: bytes) -> tuple[int, bytes]:
        self._registers.attached = True
        return 0, b""

    async def _read_reg(self, data: bytes) -> tuple[int, bytes]:
        (address,) = struct.unpack("<I", data)
        return self._registers.read(address), b""

    async def _write_reg(self, data: bytes) -> tuple[int, bytes]:
        for address, value, mask, _delay_us in struct.iter_unpack("<IIII", data):
            self._registers.write(address, value, mask)
        return 0, b""

    async def _security_info(self, _data: bytes) -> tuple[int, bytes]:
        """Flags, flash encryption count, 7 key purposes, chip id, API version: nothing burnt."""
        return 0, struct.pack("<IB7xII", 0, 0, CHIP_ID, 3)

    async def _md5(self, data: bytes) -> tuple[int, bytes]:
        address, size = struct.unpack_from("<II", data)
        digest = self._flash.md5(address, size)
        return 0, digest if self.stub else digest.hex().encode()

    async def _mem_begin(self, data: bytes) -> tuple[int, bytes]:
        _size, _blocks, block, address = struct.unpack("<IIII", data)
        self._ram = RamLoad(address, block)
        return 0, b""

    async def _mem_data(self, data: bytes) -> tuple[int, bytes]:
        size, sequence = struct.unpack_from("<II", data)
        if size != len(data) - 16:
            raise CommandError(INVALID_MESSAGE, BAD_LENGTH)
        try:
            self._registers.load(self._ram.at + sequence * self._ram.block, data[16:])
        except ValueError as error:
            raise CommandError(FAILED, FAILED) from error
        return 0, b""

    async def _flash_begin(self, data: bytes) -> tuple[int, bytes]:
        size, _blocks, _block, at = struct.unpack_from("<IIII", data)
        await self._begin(size, at, None)
        return 0, b""

    async def _deflate_begin(self, data: bytes) -> tuple[int, bytes]:
        size, _blocks, _block, at = struct.unpack_from("<IIII", data)
        await self._begin(size, at, zlib.decompressobj())
        return 0, b""

    async def _begin(self, size: int, at: int, inflate: zlib._Decompress | None) -> None:
        """The ROM erases here; the stub erases as it writes."""
        self._flash.read(at, size)
        erased = at - at % SECTOR
        if not self.stub and size:
            await self._flash.erase(at, size)
            erased = -(-(at + size) // SECTOR) * SECTOR
        self._download = Download(at, size, erased, inflate=inflate)

    async def _flash_data(self, data: bytes) -> tuple[int, bytes]:
        download, content = self._block(data, deflated=False)
        await self._put(download, content[: download.left])  # the last block is padded
        return 0, b""

    async def _deflate_data(self, data: bytes) -> tuple[int, bytes]:
        download, content = self._block(data, deflated=True)
        inflate = download.inflate
        assert inflate is not None
        while content and not inflate.eof:
            try:
                plain = inflate.decompress(content, 16 * SECTOR)
            except zlib.error as error:
                raise CommandError(0x0B, INFLATE_ERROR) from error
            content = inflate.unconsumed_tail
            if len(plain) > download.left:
                raise CommandError(FAILED, TOO_MUCH)
            await self._put(download, plain)
        return 0, b""

    def _block(self, data: bytes, *, deflated: bool) -> tuple[Download, bytes]:
        """The payload of a data block, checked against the write that is under way."""
        size, sequence = struct.unpack_from("<II", data)
        download = self._download
        if download is None or (download.inflate is not None) is not deflated:
            raise CommandError(FAILED, NOT_IN_FLASH_MODE)
        if size != len(data) - 16:
            raise CommandError(INVALID_MESSAGE, BAD_LENGTH)
        if sequence < download.sequence:  # a repeat of what was written: its reply was lost
            return download, b""
        download.sequence = sequence + 1
        return download, data[16:]

    async def _put(self, download: Download, content: bytes) -> None:
        end = download.at + len(content)
        if end > download.erased:
            await self._flash.erase(download.erased, end - download.erased)
            download.erased = -(-end // SECTOR) * SECTOR
        await self._flash.program(download.at, content)
        download.at = end
        download.left -= len(content)

    # -- frames -----------------------------------------------------------------------------------

    async def _packet(self) -> bytes:
        while not self._queue:
            self._queue = self._frames.feed(await self._wire.read())
            if not self._queue:
                await asyncio.sleep(0)
        return self._queue.pop(0)

    async def _reply(self, op: int, value: int, data: bytes = b"") -> None:
        body = data + bytes(2 if self.stub else 4)
        await self._wire.send(slip.encode(struct.pack("<BBHI", 1, op, len(body), value) + body))

    async def _fail(self, op: int, error: CommandError) -> None:
        status = bytes([1, error.stub]) if self.stub else bytes([1, error.rom, 0, 0])
        head = struct.pack("<BBHI", 1, op, len(status), 0)
        await self._wire.send(slip.encode(head + status))

    async def _unknown(self, op: int) -> None:
        """The ROM answers under the previous command's number; the stub under this one's."""
        await self._fail(
            op if self.stub else self._last_op, CommandError(INVALID_MESSAGE, UNKNOWN_COMMAND)
        )


def checksum(data: bytes) -> int:
    """XOR of all bytes, from 0xEF: the loader's and the image format's checksum."""
    wide = len(data) // 8 * 8
    folded = reduce(xor, struct.unpack(f"<{wide // 8}Q", data[:wide]), 0)
    return reduce(xor, folded.to_bytes(8, "little") + data[wide:], 0xEF)
