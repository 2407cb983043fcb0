"""A live console: reads a board's serial log as fast as it comes, keeps every byte, tells events.

    async with Capture("kitchen", "/dev/ttyUSB0", store.append, folder=run) as console:
        await console.write(b"talk 3\\n")
        async with console.paused():
            ...                                  # the port is free: esptool may have it

Reading is event-driven: the loop waits on the port's descriptor; a pyserial URL that has none is
read by one thread. What is read goes to the raw log on disk first, then through the parser, then
to the sink, all in the same turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rig.console.flood import FloodGate
from rig.console.parser import ConsoleParser
from rig.console.serial_log import SerialLog, log_path
from rig.console.sources import CHUNK, Source, SourceGone, UrlSource, open_source
from rig.errors import BoardError, RigError
from rig.history import Event, now_ns
from rig.history.events import ConsoleGap

if TYPE_CHECKING:
    from serial import SerialBase

Sink = Callable[[Event], object]
"""Where events go: `HistoryStore.append`, or anything else that takes one."""

IDLE_S = 0.25
"""After so long a silence a torn line or a folded flood is given out."""
CRASH_OVER_S = 2.0
"""After so long a silence an open crash is complete: some boards halt instead of rebooting."""
REOPEN_S = 0.02
"""How often a vanished port is tried again."""
WRITE_S = 5.0
"""How long a board may refuse what is typed to it."""
_BITE = 256
_AHEAD = 64
"""Chunks that the reading thread may be ahead of the loop."""


class Capture:
    """One board's console while it is open; an async context manager.

    Raises `BoardError` when it cannot be opened (with `wait`, it is waited for instead), and on
    leaving when the sink or the disk failed meanwhile.
    """

    def __init__(
        self,
        board: str,
        url: str,
        sink: Sink,
        *,
        folder: Path | None = None,
        baud: int = 115_200,
        asserted: bool = True,
        from_start: bool = False,
        wait: bool = False,
    ) -> None:
        """`folder`: where `serial-BOARD.log` and its time stamps go; None keeps no bytes.

        `baud`: up to what the port can, 2,000,000 and more. `asserted`, `from_start`: see
        `rig.console.sources.open_source`.
        """
        self.board = board
        self.url = url
        self.on_bytes: Callable[[bytes], object] | None = None
        """Called with each chunk as it came, before its events."""
        self._sink = sink
        self._folder = folder
        self._baud = baud
        self._asserted = asserted
        self._from_start = from_start
        self._wait = wait
        self._parser = ConsoleParser(board)
        self._gate = FloodGate(board) if folder is not None else None
        self._log: SerialLog | None = None
        self._source: Source | None = None
        self._thread: _Reader | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._last_read = 0.0
        self._paused = 0
        self._failed: asyncio.Future[None] | None = None

    @property
    def attached(self) -> bool:
        """Whether the port is open now."""
        return self._source is not None

    @property
    def log(self) -> Path | None:
        """The raw log on disk."""
        return self._log.path if self._log else None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._failed = self._loop.create_future()
        if self._folder is not None:
            self._log = SerialLog(log_path(self._folder, self.board))
        try:
            await self._attach()
        except BoardError:
            if not self._wait:
                self._close_log()
                raise
            self._reopening = asyncio.create_task(self._reopen())
        except BaseException:
            self._close_log()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            await self._detach()
            self._flush()
            if self._gate is not None:
                for left_out in self._gate.rest(now_ns()):
                    self._sink(left_out)
        finally:
            self._close_log()
        failed = self._failed
        if failed is not None and failed.done() and not failed.cancelled():
            error = failed.exception()
            if error is not None and kind is None:
                raise error

    def port(self) -> SerialBase | None:
        """pyserial's port where it reads one by URL (`rfc2217://`); None for all others.

        Whoever wants its lines must use this one: a serial server has room for one client.
        """
        return self._source.port if isinstance(self._source, UrlSource) else None

    async def failed(self) -> None:
        """Wait until the sink or the disk fails, and raise that error. Otherwise never returns."""
        if self._failed is None:
            raise RigError("this console is not open", hint="use it in `async with`")
        await asyncio.shield(self._failed)

    async def write(self, data: bytes) -> None:
        """Send `data` to the board. Raises `BoardError` when it is away or takes nothing."""
        deadline = self._loop.time() + WRITE_S
        while data:
            source = self._source
            if source is None:
                raise BoardError(
                    f"{self.board}: cannot write to {self.url}: the port is away",
                    hint="wait until it is back, or plug the board in",
                )
            try:
                if source.fileno() is None:
                    sent = await asyncio.to_thread(source.write, data)
                else:
                    sent = source.write(data)
            except SourceGone as gone:
                self._vanished(source, gone)
                continue
            data = data[sent:]
            if data and not sent:
                left = deadline - self._loop.time()
                if left <= 0:
                    raise BoardError(
                        f"{self.board}: {self.url} took nothing for {WRITE_S:g} s",
                        hint="does anything read on the other side?",
                    )
                await self._writable(source, left)

    @contextlib.asynccontextmanager
    async def paused(self, reason: str = "lent to the flasher") -> AsyncIterator[None]:
        """Let go of the port meanwhile; what the board prints then belongs to whoever has it.

        Afterwards the console is attached again, or waits for the port if it is away.
        """
        self._paused += 1
        if self._paused == 1:
            await self._detach()
            self._flush()
            self._tell(ConsoleGap(t=now_ns(), board=self.board, reason=f"paused: {reason}"))
        try:
            yield
        finally:
            self._paused -= 1
            if not self._paused:
                await self._come_back()

    # -- the port comes and goes ----------------------------------------------------------------

    async def _attach(self) -> None:
        """Open the port (in a thread: an open may block) and wait on it. Raises `BoardError`."""
        opening = asyncio.ensure_future(
            asyncio.to_thread(
                open_source,
                self.url,
                baud=self._baud,
                asserted=self._asserted,
                from_start=self._from_start,
            )
        )
        try:
            source = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)  # or its descriptor would be left behind
            raise
        self._source = source
        descriptor = source.fileno()
        if descriptor is None:
            self._thread = _Reader(source, self._loop, self._arrived, self._vanished)
        else:
            self._loop.add_reader(descriptor, self._readable, source)
            self._loop.call_soon(self._readable, source)  # a file that is there wakes nobody

    async def _come_back(self) -> None:
        try:
            await self._attach()
        except BoardError as error:
            self._tell(ConsoleGap(t=now_ns(), board=self.board, reason=f"away: {error.message}"))
            self._reopening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        while True:
            try:
                await self._attach()
            except BoardError:
                await asyncio.sleep(REOPEN_S)  # nothing to wait on: a port comes by appearing
                continue
            self._tell(ConsoleGap(t=now_ns(), board=self.board, reason=f"{self.url} is back"))
            return

    def _vanished(self, source: Source, gone: SourceGone) -> None:
        if source is not self._source:
            return
        self._release()
        self._flush()
        reason = f"{self.url} is gone: {gone}"
        self._tell(ConsoleGap(t=now_ns(), board=self.board, reason=reason, gone=True))
        # A file that was cut short or replaced is read from its new beginning.
        self._from_start = True
        self._reopening = asyncio.create_task(self._reopen())

    async def _detach(self) -> None:
        """Let go of the port for good, with all that has arrived until now read."""
        source = self._source
        if source is not None and source.fileno() is not None:
            self._readable(source)
        if self._reopening is not None:
            self._reopening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reopening
            self._reopening = None
        thread = self._thread
        self._release()
        if thread is not None:
            await asyncio.to_thread(thread.join)
            await asyncio.sleep(0)  # what the thread handed over last is in the loop's queue

    def _release(self) -> None:
        source, self._source = self._source, None
        thread, self._thread = self._thread, None
        if source is None:
            return
        descriptor = source.fileno()
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
        if thread is not None:
            thread.stop()  # it closes the source itself: pyserial's ports are not thread-safe
        else:
            source.close()

    async def _writable(self, source: Source, timeout: float) -> None:
        descriptor = source.fileno()
        if descriptor is None:
            return
        ready = asyncio.Event()
        self._loop.add_writer(descriptor, ready.set)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ready.wait(), timeout)
        finally:
            if source is self._source:
                self._loop.remove_writer(descriptor)

    # -- bytes ----------------------------------------------------------------------------------

    def _readable(self, source: Source) -> None:
        if source is not self._source:  # closed since this call was queued
            return
        try:
            data = source.read()
        except SourceGone as gone:
            self._vanished(source, gone)
            return
        if data:
            self._arrived(data, now_ns())
        if len(data) >= CHUNK:  # the rest of a file wakes nobody either
            self._loop.call_soon(self._readable, source)

    def _arrived(self, data: bytes, t: int) -> None:
        try:
            if self._log is not None:
                self._log.append(data, t)
            if self.on_bytes is not None:
                self.on_bytes(data)
        except RigError as error:
            self._fail(error)
            return
        # In small bites: a crash is told before what was printed after it is read.
        for at in range(0, len(data), _BITE):
            self._tell(*self._parser.feed(data[at : at + _BITE], t))
        self._last_read = self._loop.time()
        if self._idle is None and (self._parser.pending or self._parser.crashing):
            self._idle = self._loop.call_later(IDLE_S, self._silent)

    def _silent(self) -> None:
        self._idle = None
        silence = self._loop.time() - self._last_read
        if self._parser.crashing and silence >= CRASH_OVER_S:
            self._flush()
            return
        if self._parser.pending and silence >= IDLE_S:
            self._tell(*self._parser.settle(now_ns()))
        limit = IDLE_S if self._parser.pending else CRASH_OVER_S
        if self._parser.pending or self._parser.crashing:
            self._idle = self._loop.call_later(limit - silence, self._silent)

    def _flush(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._tell(*self._parser.flush(now_ns()))

    def _tell(self, *events: Event) -> None:
        try:
            for event in events:
                for kept in self._gate.through(event) if self._gate else (event,):
                    self._sink(kept)
        except RigError as error:
            self._fail(error)

    def _fail(self, error: RigError) -> None:
        """The disk or the sink failed: stop reading, and let whoever leaves us know."""
        self._release()
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # seen: it is raised on leaving

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()


def _close_opened(opening: asyncio.Future[Source]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class _Reader(threading.Thread):
    """Reads a source without a descriptor; at most `_AHEAD` chunks ahead of the loop."""

    def __init__(
        self,
        source: Source,
        loop: asyncio.AbstractEventLoop,
        arrived: Callable[[bytes, int], None],
        vanished: Callable[[Source, SourceGone], None],
    ) -> None:
        super().__init__(name="rig-console", daemon=True)
        self._source = source
        self._loop = loop
        self._arrived = arrived
        self._vanished = vanished
        self._ahead = threading.Semaphore(_AHEAD)
        self._stopped = threading.Event()
        self.start()

    def stop(self) -> None:
        """Ask it to end; it closes its source within `sources.BLOCK_S`."""
        self._stopped.set()
        self._ahead.release()

    def run(self) -> None:
        """Read until stopped or the source is gone."""
        try:
            while not self._stopped.is_set():
                data = self._source.read()
                if data:
                    self._ahead.acquire()
                    self._call(self._give, data, now_ns())
        except SourceGone as gone:
            self._call(self._vanished, self._source, gone)
        finally:
            self._source.close()

    def _give(self, data: bytes, t: int) -> None:
        self._ahead.release()
        self._arrived(data, t)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is listening
            self._loop.call_soon_threadsafe(function, *arguments)
