"""A NOR flash chip on a file: programming clears bits, erasing is by sector, power cuts tear."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import time
from operator import and_
from pathlib import Path
from typing import Self

from rig.errors import BoardError

SIZE = 4 * 1024 * 1024
"""Bytes; what the JEDEC id below says (GD25Q32)."""
SECTOR = 4096
PAGE_SECONDS = 40e-6
"""Modelled time to program a 256-byte page (a real GD25Q32 takes 600 us: the model is quicker)."""
ERASE_SECONDS = 200e-6
"""Modelled time to erase a sector (really 50 ms); a cut within it leaves the rest as it was."""
JEDEC_ID = b"\xc8\x40\x16"
"""Manufacturer (GigaDevice), type, log2 of the size: the answer to RDID 0x9f."""
SFDP = bytes.fromhex("53464450000101ff00000109300000ffc8000103600000ff").ljust(256, b"\xff")
"""Head of the JESD216 parameter table; the second header (at 0x10) is the manufacturer's own."""


class FlashError(Exception):
    """An operation beyond the end of the chip."""


class NorFlash:
    """The chip. Content lives in `path`, and outlives the process even when that is killed."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        """`size`: bytes, a power of two. Raises `BoardError`: no such file can be made or used."""
        self.path = path
        self._size = size
        try:
            fresh = not path.exists()
            if fresh:
                blank = path.with_suffix(".new")
                blank.touch(mode=0o600)  # credentials are written into it
                blank.write_bytes(b"\xff" * size)
                blank.rename(path)
            found = path.stat().st_size
            if found != size:
                raise BoardError(
                    f"{path} is no image of the virtual board's flash: {size} bytes expected, "
                    f"{found} found",
                    hint=f"remove {path}: the board then starts with blank flash",
                )
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise BoardError(
                f"cannot keep the virtual board's flash in {path}: {error.strerror}",
                hint="free 4 MiB there, or set SENDSPIN_RIG_HOME to a folder you may write to",
            ) from error
        self.status = 0
        """Status registers 1-3, as one little-endian word."""

    def __len__(self) -> int:
        return self._size

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`. Raises `FlashError` beyond the end."""
        self._bounds(address, size)
        return self._map[address : address + size]

    def md5(self, address: int, size: int) -> bytes:
        """MD5 of a region. Raises `FlashError` beyond the end."""
        self._bounds(address, size)
        with memoryview(self._map) as view:
            return hashlib.md5(view[address : address + size], usedforsecurity=False).digest()

    async def erase(self, address: int, size: int) -> None:
        """Erase every sector that the region touches. Cancelled midway, it leaves a torn sector."""
        self._bounds(address, size)
        first = address - address % SECTOR
        for sector in range(first, address + size, SECTOR):
            await self._spend(sector, b"\xff" * SECTOR, ERASE_SECONDS)

    async def program(self, address: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`, sector by sector; cancelled midway, it is torn."""
        self._bounds(address, len(data))
        at = 0
        while at < len(data):
            here = address + at
            part = data[at : at + SECTOR - here % SECTOR]
            old = self._map[here : here + len(part)]
            if old.count(0xFF) != len(old):
                part = (int.from_bytes(old) & int.from_bytes(part)).to_bytes(len(part))
            await self._spend(here, part, PAGE_SECONDS * (len(part) / 256))
            at += len(part)

    def poke(self, address: int, data: bytes) -> None:
        """Program a few bytes at once: too short an operation to be cut."""
        old = self.read(address, len(data))
        self._map[address : address + len(data)] = bytes(map(and_, old, data))

    def wipe(self, sector: int) -> None:
        """Erase one sector at once, as the application's own file system does."""
        self._map[sector : sector + SECTOR] = b"\xff" * SECTOR

    async def _spend(self, address: int, content: bytes, seconds: float) -> None:
        """Change a stretch of cells; a cut at fraction f of its time leaves the first f changed."""
        began = time.monotonic()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            done = int(len(content) * min(1.0, (time.monotonic() - began) / seconds))
            self._map[address : address + done] = content[:done]
            raise
        self._map[address : address + len(content)] = content

    def _bounds(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self._size:
            raise FlashError(
                f"{address:#x}+{size:#x} is beyond the {self._size:#x} bytes of the chip"
            )

    def command(self, opcode: int, address: int, count: int, sent: bytes) -> bytes:
        """A raw SPI command that does not touch the cells; `count` bytes come back.

        What the chip does not know leaves the line high (`FF`).
        """
        if opcode == 0x9F:
            answer = JEDEC_ID[:2] + bytes([self._size.bit_length() - 1])
        elif opcode in (0x05, 0x35, 0x15):
            answer = self.status.to_bytes(3, "little")[(0x05, 0x35, 0x15).index(opcode) :][:1]
        elif opcode == 0x5A:
            answer = SFDP[address % 256 :]
        else:
            answer = b""
            if opcode in (0x06, 0x04):  # WREN, WRDI: the write-enable latch
                self.status = self.status & ~2 | (2 if opcode == 0x06 else 0)
            elif opcode == 0x01 and sent:  # WRSR keeps the latch and the busy bit out
                self.status = self.status & ~0xFC | sent[0] & 0xFC
        return answer[:count].ljust(count, b"\xff")

    def close(self) -> None:
        """Write back and let go of the file."""
        self._map.flush()
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
