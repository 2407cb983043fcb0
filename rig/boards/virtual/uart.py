"""The UART on a pty: what nobody reads is lost, as on a wire; the chip never waits for a reader."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import time
import tty

LIVE_BOUND = 1 << 20
"""Bytes held for a reader that is attached but slow; then the older half is lost."""
SEND_BOUND = 32 * 1024
"""Bytes below which a driver that waits for the FIFO goes on."""
RECENT_BOUND = 16 * 1024
"""Bytes since the last reset that a reader who attaches later still gets."""
RX_BOUND = 64 * 1024
"""Bytes that wait for the chip to read them; beyond, the FIFO overruns."""
ATTACH_POLL = 0.02
"""Seconds between two looks for a reader while none is attached (a pty tells only of leaving)."""


class Uart:
    """UART0 of the chip; the far end is the device `path`, raw, opened as often as wanted."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.path = os.ttyname(slave)
        tty.setraw(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self.baud = 115_200
        self.paced = False
        self.last_client = time.monotonic()
        """When somebody last had the far end open (`time.monotonic`)."""
        self._out = bytearray()
        self._recent = bytearray()
        self._in = bytearray()
        self._got = asyncio.Event()
        self._drained = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False
        self.attached = False
        """Whether somebody has the far end open."""
        self._look()

    # -- the chip's side --------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Put bytes on the wire; never waits."""
        if not self.attached:
            self._recent += data
            del self._recent[: max(0, len(self._recent) - RECENT_BOUND)]
            return
        self._out += data
        if len(self._out) > LIVE_BOUND:
            del self._out[: LIVE_BOUND // 2]
        self._pump()

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire and wait until most left, as a driver that polls its FIFO."""
        self.write(data)
        while self.attached and len(self._out) > SEND_BOUND:
            self._drained.clear()
            try:
                await asyncio.wait_for(self._drained.wait(), 3.0)
            except TimeoutError:
                return

    async def read(self) -> bytes:
        """What came in, at least one byte."""
        while not self._in:
            self._got.clear()
            await self._got.wait()
        data = bytes(self._in)
        self._in.clear()
        return data

    def reset(self) -> None:
        """The peripheral was reset: FIFOs empty, baud rate back, what nobody saw is forgotten."""
        self.baud = 115_200
        self._in.clear()
        self._recent.clear()

    def cut(self) -> None:
        """Power is gone: what was not on the wire yet never will be."""
        self._out.clear()
        self.reset()

    def close(self) -> None:
        """Take the pty away; a reader sees a hang-up."""
        if self._timer:
            self._timer.cancel()
        self.attached = False
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        os.close(self._master)

    # -- the wire ---------------------------------------------------------------------------------

    def _look(self) -> None:
        """Nobody was attached: is there somebody now?"""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        flags = dict(poll.poll(0)).get(self._master, 0)
        if flags & select.POLLIN:  # somebody wrote and was gone again
            self._take(os.read(self._master, 65536))
        if flags & select.POLLHUP:
            self._timer = self._loop.call_later(ATTACH_POLL, self._look)
            return
        self.attached = True
        self._out += self._recent
        self._recent.clear()
        self._loop.add_reader(self._master, self._readable)
        self._pump()

    def _left(self) -> None:
        """The last reader closed the far end: drop what it left unread, go back to looking."""
        self.attached = False
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        self._waiting = False
        self._out.clear()
        self._drained.set()
        slave = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            tty.setraw(slave)
            while os.read(slave, 65536):
                pass
        except BlockingIOError:
            pass
        finally:
            os.close(slave)
        self._timer = self._loop.call_later(ATTACH_POLL, self._look)

    def _readable(self) -> None:
        self.last_client = time.monotonic()
        try:
            data = os.read(self._master, 65536 if not self.paced else max(1, self.baud // 500))
        except BlockingIOError:
            return
        except OSError:  # EIO: the far end was closed
            self._left()
            return
        self._take(data)
        if self.paced:
            self._loop.remove_reader(self._master)
            taken = len(data) * 10 / self.baud
            self._timer = self._loop.call_later(
                taken, self._loop.add_reader, self._master, self._readable
            )

    def _take(self, data: bytes) -> None:
        self._in += data[: RX_BOUND - len(self._in)]
        self._got.set()

    def _pump(self) -> None:
        """Write what the kernel takes; the rest when it has room again, or when its time comes."""
        if self._waiting or not self._out or not self.attached:
            return
        size = max(1, self.baud // 500) if self.paced else len(self._out)  # 20 ms worth of bits
        try:
            with memoryview(self._out) as out:
                count = os.write(self._master, out[:size])
        except BlockingIOError:
            count = 0
        del self._out[:count]
        self.last_client = time.monotonic()
        if len(self._out) <= SEND_BOUND:
            self._drained.set()
        if self.paced and count:
            self._waiting = True
            self._loop.call_later(count * 10 / self.baud, self._again)
        elif self._out:
            self._waiting = True
            self._loop.add_writer(self._master, self._again)

    def _again(self) -> None:
        if self.attached:
            self._loop.remove_writer(self._master)
            self._waiting = False
            self._pump()
