"""Fixtures of the virtual board's hardware: a running board with a stand-in application."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rig.boards.virtual.board import VirtualBoard, VirtualSettings

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
BUNDLES = Path(__file__).parents[2] / "fixtures" / "firmware"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Port:
    """The board's serial port, as a terminal program holds it; `text` is all that was read."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def _until(self, wanted: str, after: int, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while wanted not in self.text[after:]:
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {wanted!r} within {seconds} s in:\n{self.text[after:]}"
            data = os.read(self._fd, 65536)
            assert data, f"the port hung up before {wanted!r} in:\n{self.text[after:]}"
            self.text += data.decode("latin-1")
        return self.text[after:]

    async def until(self, wanted: str, *, after: int = 0, seconds: float = 20.0) -> str:
        """What was read from character `after` on, once `wanted` is in it."""
        return await asyncio.to_thread(self._until, wanted, after, seconds)

    def close(self) -> None:
        if self._fd != -1:
            os.close(self._fd)
            self._fd = -1


@pytest.fixture
async def plug_in(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Callable[..., VirtualBoard]]:
    """Makes boards with homes of their own and the stand-in; unplugs them at the end."""
    boards: list[VirtualBoard] = []

    def make(home: Path | None = None, *more: str, namespace: bool = False) -> VirtualBoard:
        settings = VirtualSettings(
            home=home or tmp_path / f"home-{len(boards)}", namespace=namespace
        )
        boards.append(VirtualBoard("virtual", settings, command=(*STAND_IN, *more)))
        return boards[-1]

    yield make
    for board in boards:
        await board.unplug()


@pytest.fixture
async def board(plug_in: Callable[..., VirtualBoard]) -> AsyncIterator[VirtualBoard]:
    """A board on a loopback address, plugged in, its flash blank."""
    async with plug_in() as plugged:
        yield plugged


@pytest.fixture
def port() -> AsyncIterator[Callable[[VirtualBoard], Port]]:
    """Opens a board's serial port."""
    opened: list[Port] = []

    def open_port(board: VirtualBoard) -> Port:
        opened.append(Port(board.home / "uart"))
        return opened[-1]

    yield open_port
    for one in opened:
        one.close()


@pytest.fixture
def flashed() -> Callable[[Path, str], Path]:
    """Puts a bundle into a home's flash without a loader: `flashed(home, version)`."""

    def put(home: Path, version: str = "v0.7.0", **replace: bytes) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        content = bytearray(b"\xff" * 0x400000)
        parts = {
            "bootloader": (0x0, "bootloader/bootloader.bin"),
            "table": (0x8000, "partition_table/partition-table.bin"),
            "nvs": (0x9000, "nvs.bin"),
            "app": (0x10000, "sendspin-speaker.bin"),
        }
        for name, (at, path) in parts.items():
            data = replace.get(name, (BUNDLES / version / path).read_bytes())
            content[at : at + len(data)] = data
        (home / "flash.bin").write_bytes(content)
        return home

    return put
