"""Firmware made byte by byte, and a C3 in download mode on a real pty (the virtual board's ROM).

The loader is the project's model of the mask ROM; esptool, pty and serial port are real.
`BadWire` stands between loader and UART and breaks what a bad cable breaks.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rig.boards.virtual.flash import NorFlash
from rig.boards.virtual.registers import Registers
from rig.boards.virtual.rom import Loader
from rig.boards.virtual.uart import Uart

MAC = bytes.fromhex("f41240a1b2c3")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the flasher's own command remembers what boards hold."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


def checksum(data: bytes) -> int:
    total = 0xEF
    for byte in data:
        total ^= byte
    return total


@dataclass(frozen=True)
class Firmware:
    """Builds the files of a firmware, small and valid."""

    def image(
        self, chip_id: int = 5, segment: bytes = b"\x13\0\0\0" * 8, *, hashed: bool = True
    ) -> bytes:
        header = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, 0x42000020)
        header += struct.pack("<B3sHBHH4sB", 0, b"", chip_id, 0, 0, 0xFFFF, b"", int(hashed))
        body = header + struct.pack("<II", 0x3C000020, len(segment)) + segment
        body += b"\0" * (15 - len(body) % 16) + bytes([checksum(segment)])
        return body + (hashlib.sha256(body).digest() if hashed else b"")

    def app(
        self,
        chip_id: int = 5,
        *,
        version: str = "v1.2.3",
        elf: bytes = b"ELF",
        filling: bytes = b"code",
    ) -> bytes:
        descriptor = struct.pack(
            "<II8x32s32s16s16s32s32s80x",
            0xABCD5432,
            0,
            version.encode(),
            b"speaker",
            b"12:00:00",
            b"Jul  1 2026",
            b"v5.5.4",
            hashlib.sha256(elf).digest(),
        )
        return self.image(chip_id, descriptor + filling)

    def table(self, *rows: tuple[str, int, int, int, int]) -> bytes:
        """Rows of name, type, subtype, offset, size; with the MD5 row, padded as ESP-IDF does."""
        rows = rows or (("nvs", 1, 2, 0x9000, 0x6000), ("factory", 0, 0, 0x10000, 0x100000))
        data = b"".join(
            struct.pack("<2sBBII16sI", b"\xaa\x50", kind, subtype, offset, size, name.encode(), 0)
            for name, kind, subtype, offset, size in rows
        )
        data += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(data, usedforsecurity=False).digest()
        return data.ljust(0xC00, b"\xff")

    def merged(self, chip_id: int = 5, bootloader_offset: int = 0) -> bytes:
        data = b"\xff" * bootloader_offset + self.image(chip_id)
        data = data.ljust(0x8000, b"\xff") + self.table()
        return data.ljust(0x10000, b"\xff") + self.app(chip_id)


@pytest.fixture
def firmware() -> Firmware:
    return Firmware()


Change = Callable[[dict[str, object]], None]


@pytest.fixture
def build(tmp_path: Path, firmware: Firmware) -> Callable[..., Path]:
    """Writes an ESP-IDF build folder; `change` edits what goes into flasher_args.json."""

    def make(
        change: Change | None = None,
        *,
        chip: str = "esp32c3",
        chip_id: int = 5,
        bootloader: int = 0,
        files: dict[str, bytes] | None = None,
        name: str = "build",
    ) -> Path:
        folder = tmp_path / name
        (folder / "bootloader").mkdir(parents=True, exist_ok=True)
        content = {
            "bootloader/bootloader.bin": firmware.image(chip_id),
            "partition-table.bin": firmware.table(),
            "speaker.bin": firmware.app(chip_id, filling=random.Random(1).randbytes(40_000)),
            "speaker.elf": b"ELF",
            **(files or {}),
        }
        for path, data in content.items():
            (folder / path).write_bytes(data)
        args: dict[str, object] = {
            "flash_settings": {"flash_mode": "dio", "flash_size": "4MB", "flash_freq": "80m"},
            "flash_files": {
                f"{bootloader:#x}": "bootloader/bootloader.bin",
                "0x8000": "partition-table.bin",
                "0x10000": "speaker.bin",
            },
            "app": {"offset": "0x10000", "file": "speaker.bin", "encrypted": "false"},
            "extra_esptool_args": {"chip": chip, "before": "default_reset", "stub": True},
        }
        if change is not None:
            change(args)
        (folder / "flasher_args.json").write_text(json.dumps(args))
        return folder

    return make


class BadWire:
    """A UART whose line can be made bad. Set the faults before the flasher starts."""

    def __init__(self, uart: Uart) -> None:
        self._uart = uart
        self.clean_up_to = 10_000_000
        """Baud; above, every frame to the host has a broken byte."""
        self.silent_after: int | None = None
        """Bytes from the host after which the chip never answers again."""
        self.vanish_after: int | None = None
        """Bytes from the host after which the port is taken away."""
        self.received = 0

    @property
    def baud(self) -> int:
        return self._uart.baud

    @baud.setter
    def baud(self, value: int) -> None:
        self._uart.baud = value

    async def read(self) -> bytes:
        data = await self._uart.read()
        self.received += len(data)
        if self.vanish_after is not None and self.received > self.vanish_after:
            self._uart.close()
            await asyncio.Event().wait()
        if self.silent_after is not None and self.received > self.silent_after:
            await asyncio.Event().wait()
        return data

    async def send(self, data: bytes) -> None:
        if self.baud > self.clean_up_to:
            data = data[:1] + b"\xdb\x00" + data[3:]  # an escape that SLIP does not know
        await self._uart.send(data)


class DownloadMode:
    """A C3 that waits in download mode; `path` is its port, `flash` the file behind its flash."""

    def __init__(self, flash: Path) -> None:
        self.flash = flash
        self.path = ""
        self.wire: BadWire
        self.resets = 0
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._loader: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop

    def run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop, stop = asyncio.get_running_loop(), asyncio.Event()
        uart = Uart()
        self.wire, self.path = BadWire(uart), uart.path
        self._stop = lambda: self._loop.call_soon_threadsafe(stop.set)
        with NorFlash(self.flash) as flash:
            self._registers = Registers(MAC, flash, lambda: None)
            serving = asyncio.create_task(self._serve(flash, uart))
            self._ready.set()
            await stop.wait()
            serving.cancel()
            await asyncio.wait([serving])

    async def _serve(self, flash: NorFlash, uart: Uart) -> None:
        while True:
            self._loader = asyncio.create_task(
                Loader(self.wire, flash, self._registers).serve()  # type: ignore[arg-type]
            )
            try:
                await self._loader
            except asyncio.CancelledError:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise
            uart.reset()
            self._registers.reset()

    async def reset(self, *, download: bool = False) -> None:
        """Into download mode again, as a board's owner would; runs in the caller's loop."""
        self.resets += 1
        done = threading.Event()

        def restart() -> None:
            if self._loader is not None:
                self._loader.cancel()
            self._loop.call_soon(done.set)

        self._loop.call_soon_threadsafe(restart)
        await asyncio.to_thread(done.wait, 5)

    @contextmanager
    def alive(self) -> Iterator[DownloadMode]:
        thread = threading.Thread(target=self.run, name="c3")
        thread.start()
        try:
            assert self._ready.wait(10)
            yield self
        finally:
            self._stop()
            thread.join(10)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[DownloadMode]:
    """A C3 in download mode, flash blank."""
    with DownloadMode(tmp_path / "flash.bin").alive() as board:
        yield board


@pytest.fixture
def hasty_esptool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """esptool's time-outs short (its own configuration file): a silent board is known sooner."""
    config = tmp_path / "esptool.cfg"
    config.write_text("[esptool]\ntimeout = 0.5\nserial_write_timeout = 2\n")
    monkeypatch.setenv("ESPTOOL_CFGFILE", str(config))
