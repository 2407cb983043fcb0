"""A chip's ROM loader behind a TCP port, as an emulator shows it; an ESP32's, too.

The loader is the virtual board's model (a C3's). An ESP32's differs in what matters to esptool: it
does not know GET_SECURITY_INFO, tells itself by a word of its ROM, and has its eFuses, RAM and SPI
controller at other addresses (esptool's `targets/esp32.py`).

`Odd`: what emulators leave out, and do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rig.boards.virtual.flash import NorFlash
from rig.boards.virtual.registers import SPI, Registers
from rig.boards.virtual.rom import CommandError, Leave, Loader

MAC = bytes.fromhex("240ac4a1b2c3")
_SPI = 0x3FF42000
_OFFSETS = {0: 0, 4: 4, 0x1C: 0x18, 0x20: 0x1C, 0x24: 0x20, 0x28: 0x24, 0x2C: 0x28}
_RAM = (range(0x3FFAE000, 0x40000000), range(0x40080000, 0x400C0000))
_FIXED = {
    0x40001000: 0x00F01D83,  # the ROM word that tells an ESP32
    0x3FF5A004: int.from_bytes(MAC[2:]),
    0x3FF5A008: int.from_bytes(MAC[:2]),
    0x3FF5A00C: 1 << 15,  # revision bit 0; the other two follow: v3
    0x3FF5A014: 1 << 20,
    0x3FF6607C: 1 << 31,
    0x3FF40014: 347,  # UART clock divider: 40 MHz / 115200
}


@dataclass(frozen=True)
class Odd:
    """In what an emulated chip is less than a real one."""

    stub: str = "starts"
    """`starts`; `hangs`: the chip says nothing any more; `refused`: the ROM loads nothing."""
    blank: bool = False
    """No eFuses: a MAC of zeros."""
    flash_id: bool = True
    """Whether the flash says who it is; else the bus reads ones."""
    away: float | None = None
    """A reset ends the connection, and its port is away for so many seconds. None: it stays."""


ORDINARY = Odd()


class C3Registers(Registers):
    """A C3's, with or without eFuses and a flash that says who it is."""

    odd = ORDINARY
    fuses = range(0x60008800, 0x60008A00)

    def read(self, address: int) -> int:
        """The word there."""
        return 0 if self.odd.blank and address in self.fuses else self._word(address)

    def _word(self, address: int) -> int:
        return super().read(address)

    def _run_spi_command(self) -> None:
        there = self.attached
        self.attached = there and (self.odd.flash_id or self.read(SPI + 0x20) & 0xFF != 0x9F)
        super()._run_spi_command()
        self.attached = there


class Esp32Registers(C3Registers):
    """An ESP32's addresses."""

    fuses = range(0x3FF5A000, 0x3FF5A100)

    def _word(self, address: int) -> int:
        return _FIXED[address] if address in _FIXED else super()._word(_there(address))

    def write(self, address: int, value: int, mask: int = 0xFFFFFFFF) -> None:
        """Write a word; the SPI controller acts."""
        super().write(_there(address), value, mask)

    def load(self, address: int, data: bytes) -> None:
        """Put a block into RAM."""
        if not any(address in bank and address + len(data) <= bank.stop for bank in _RAM):
            raise ValueError(f"no RAM at {address:#x}")
        for at in range(0, len(data), 4):
            self._words[address + at] = int.from_bytes(data[at : at + 4], "little")

    def loaded(self, address: int) -> bool:
        """Whether anything was written there."""
        return address & ~3 in self._words


def _there(address: int) -> int:
    """Where a C3 has what an ESP32 has here."""
    offset = address - _SPI
    if offset in _OFFSETS:
        return SPI + _OFFSETS[offset]
    return SPI + 0x58 + offset - 0x80 if 0x80 <= offset < 0xC0 else address


class C3Loader(Loader):
    """A C3's mask ROM; what it does with a stub is the emulator's."""

    odd = ORDINARY

    async def _mem_begin(self, data: bytes) -> tuple[int, bytes]:
        if self.odd.stub == "refused":
            raise CommandError(0x05, 0x05)
        return await super()._mem_begin(data)

    async def _mem_end(self, data: bytes) -> Leave | None:
        if self.odd.stub == "starts":
            return await super()._mem_end(data)
        await self._reply()
        return Leave.CRASHED


class Esp32Loader(C3Loader):
    """An ESP32's mask ROM."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        del self._commands[0x14]


class _Wire:
    """The client that is attached now; nobody: what is sent is lost."""

    def __init__(self) -> None:
        self.baud = 115_200
        self.writer: asyncio.StreamWriter | None = None
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        return await self.inbox.get()

    async def send(self, data: bytes) -> None:
        if self.writer is not None:
            self.writer.write(data)


class RomBehindTcp:
    """The chip in its loader; `url` is its port. A context manager; it lives in a thread."""

    def __init__(self, flash: Path, size: int, *, esp32: bool, odd: Odd = ORDINARY) -> None:
        self.flash = flash
        self.url = ""
        self._odd = odd
        self._port = 0
        self._failed: list[BaseException] = []
        """What broke in the model itself: a chip that hangs by it shows nothing."""
        self.downloads = 0
        """How often it was reset into its loader."""
        self._size = size
        self._kinds = (Esp32Registers, Esp32Loader) if esp32 else (C3Registers, C3Loader)
        self._ready = threading.Event()

    async def reset(self, *, download: bool = False) -> None:
        """By its owner. It has no firmware: without `download` it stays as it is."""
        if download:
            self.downloads += 1
            done = threading.Event()
            restart = self._restart(done)
            asyncio.run_coroutine_threadsafe(restart, self._loop)
            await asyncio.to_thread(done.wait, 5)

    async def _restart(self, done: threading.Event) -> None:
        """As a command does it that starts the machine anew: it does not wait for its port."""
        self._loader.cancel()
        self._wire.inbox = asyncio.Queue()
        if self._odd.away is not None:
            self._server.close()
            if self._wire.writer is not None:
                self._wire.writer.transport.abort()
            done.set()
            await asyncio.sleep(self._odd.away)
            await self._listen()
        self._start()
        done.set()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def _start(self) -> None:
        self._registers.reset()
        loader = self._kinds[1](self._wire, self._chip, self._registers)
        loader.odd = self._odd
        self._loader = asyncio.ensure_future(loader.serve())
        self._loader.add_done_callback(self._ended)

    def _ended(self, loader: asyncio.Future[object]) -> None:
        if not loader.cancelled() and (error := loader.exception()) is not None:
            self._failed.append(error)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._wire.writer = writer
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self._wire.inbox.put_nowait(data)
        if self._wire.writer is writer:
            self._wire.writer = None
        writer.close()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._wire = _Wire()
        with NorFlash(self.flash, self._size) as self._chip:
            self._registers = self._kinds[0](MAC, self._chip, lambda: None)
            self._registers.odd = self._odd
            self._start()
            await self._listen()
            self.url = f"socket://127.0.0.1:{self._port}"
            self._ready.set()
            await self._end.wait()
            self._server.close()
            self._loader.cancel()

    @contextmanager
    def alive(self) -> Iterator[RomBehindTcp]:
        """Switched on meanwhile."""
        thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="rom")
        thread.start()
        try:
            assert self._ready.wait(10)
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._end.set)
            thread.join(10)
        assert not self._failed
