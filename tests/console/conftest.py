"""The console's tests share a pseudo-terminal as serial port, and a sink that can be awaited."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable, Iterator

import pytest

from rig.history import Event
from rig.history.events import LogLine

PATIENCE_S = 20.0
"""A deadline for what ought to take milliseconds: the machine may be busy with other tests."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Pty:
    """A pty: `path` is the serial port, `board_*` is what hangs on the other end."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self.slave)
        self._open = [self.master, self.slave]

    def prints(self, data: bytes) -> None:
        """The board prints `data`."""
        assert os.write(self.master, data) == len(data)

    def typed(self) -> bytes:
        """What was typed to the board so far."""
        try:
            return os.read(self.master, 65536)
        except BlockingIOError:
            return b""

    def unplug(self) -> None:
        """The port vanishes: both ends are closed."""
        while self._open:
            os.close(self._open.pop())


@pytest.fixture
def new_pty() -> Iterator[Callable[[], Pty]]:
    """Makes ptys; all are unplugged at the end."""
    made: list[Pty] = []

    def make() -> Pty:
        made.append(Pty())
        return made[-1]

    yield make
    for pty in made:
        pty.unplug()


@pytest.fixture
def pty(new_pty: Callable[[], Pty]) -> Pty:
    return new_pty()


class Heard:
    """A sink that keeps events and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()

    async def until(self, wanted: Callable[[Event], bool]) -> Event:
        """The first event, from the start on, that is `wanted`."""
        async with asyncio.timeout(PATIENCE_S):
            at = 0
            while True:
                for event in self.events[at:]:
                    if wanted(event):
                        return event
                at = len(self.events)
                self._more.clear()
                await self._more.wait()

    async def line(self, text: str) -> Event:
        """The log line with this text."""
        return await self.until(lambda event: isinstance(event, LogLine) and event.text == text)

    def lines(self) -> list[str]:
        """The texts of all log lines, repeats unfolded."""
        return [
            event.text
            for event in self.events
            if isinstance(event, LogLine)
            for _ in range(event.repeats)
        ]


@pytest.fixture
def heard() -> Heard:
    return Heard()
