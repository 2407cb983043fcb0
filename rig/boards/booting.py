"""A board seen to boot: its console attached before the reset, followed to its service.

async with open_board(name, bench) as board, attach_console(board, store) as console:
    await flash_board(board, bundle, store, console)
    booted = await boot_board(board, store)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from rig.boards.base import Address, Board, Dialler, Findable, Lined, console_asserted
from rig.boards.download_mode import InDownloadMode, stuck, waits_for_loader, ways_out
from rig.boards.flashing import power_cycle
from rig.console.capture import Capture
from rig.errors import BoardError
from rig.history import Event, HistoryStore, Watch, now_ns
from rig.history.events import AppStarted, Boot, CrashBegan, LogLine, ResetAsked

BOOT_SECONDS = 20.0
"""How long a board may take from its reset to its open port: joining a network takes most of it."""
LATE_SECONDS = 3.0
"""How much later than the rig a program under test may open its log."""
_RETRY_SECONDS = 0.05
_CONNECT_SECONDS = 2.0
_NAMELESS_SECONDS = 1.0
"""How long the application may name itself later than its port answers."""
_ADDRESS_SECONDS = 1.0
"""How long after its application's start the address of a board may become known."""
_FINDING_SECONDS = 5.0
"""The same, where it is looked for by mDNS."""
_LOADER_TAG = re.compile(r"boot.*|esp_image|flash_parts|flash_encrypt|secure_boot.*|qio_mode|efuse")
"""Components that log in ESP-IDF's second-stage loader."""
_LOOPING = 3
"""Boots in a row without an application: it will not come."""


class NotBooted(BoardError):
    """A board did not come into service after its reset."""


@dataclass(frozen=True, slots=True)
class Booted:
    """A board that runs: what its application said of itself, and where it answers."""

    app: AppStarted | None
    """None where the board has no console, or its firmware does not name itself."""
    address: Address | None
    """None where the board has none."""


def _is_log(url: str) -> bool:
    """Whether a program writes it: no serial port comes by waiting."""
    return url.startswith("socket://") or not (url.startswith("/dev/") or "://" in url)


async def _entered(
    stack: contextlib.AsyncExitStack, capture: Callable[[], Capture], *, patience: float
) -> Capture:
    """Open the console, tried again for `patience` s. Raises `BoardError`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            return await stack.enter_async_context(capture())
        except BoardError:
            if loop.time() >= deadline:
                raise
        await asyncio.sleep(0.1)  # nothing to wait on: it comes by appearing


@contextlib.asynccontextmanager
async def attach_console(
    board: Board, store: HistoryStore, *, folder: Path | None = None
) -> AsyncIterator[Capture | None]:
    """The board's console, read into `store`, and its way to type; None: it has no console.

    Where a command resets the board, its console may come with the reset only (an emulator that is
    not started yet): it is waited for then. A program's log, a file or a socket, is waited for, for
    `LATE_SECONDS`: it may have been started together with the rig.
    """
    url = board.console_url
    if url is None:
        yield None
        return
    port = board.flash_port
    comes = board.can_reset and (port is None or port.before == "no-reset")

    def capture() -> Capture:
        return Capture(
            board.name,
            url,
            store.append,
            folder=folder,
            baud=board.console_baud,
            asserted=console_asserted(board),
            wait=comes,
        )

    async with contextlib.AsyncExitStack() as stack:
        console = await _entered(stack, capture, patience=LATE_SECONDS if _is_log(url) else 0.0)
        board.console_writer = console.write
        if isinstance(board, Lined):
            board.console_port = console.port
        try:
            yield console
        except NotBooted as error:
            if console.attached:
                raise
            raise NotBooted(
                f"{error.message}; its console {board.console_url} cannot be opened",
                hint=error.hint,
            ) from error
        finally:
            board.console_writer = None
            if isinstance(board, Lined):
                board.console_port = None


async def boot_board(
    board: Board, store: HistoryStore, *, timeout: float = BOOT_SECONDS, reset: bool = True
) -> Booted:
    """Reset the board (where it can be) and wait, at most `timeout` s, until it is in service.

    In service: its application named itself on the console and its Sendspin port takes connections.
    Its console must be attached to `store` already. Raises `BoardError`, which shows what the board
    printed instead.
    """
    with store.watch(lambda event: getattr(event, "board", None) == board.name) as watch:
        if reset and board.can_reset:
            store.append(ResetAsked(t=now_ns(), board=board.name, how="reset"))
            await board.reset()
        ways, tried = ways_out(board), 0
        while True:
            started = _Startup(board, watch)
            try:
                async with asyncio.timeout(timeout):
                    return await started.wait()
            except TimeoutError as error:
                raise started.late(timeout) from error
            except InDownloadMode as error:
                if tried == len(ways):
                    raise stuck(board.name, ways) from error
                if ways[tried] == "reset":
                    store.append(ResetAsked(t=now_ns(), board=board.name, how="reset"))
                    await board.reset()
                else:
                    await power_cycle(board, store)
                tried += 1


class _Startup:
    """Follows a board from its reset to its service."""

    def __init__(self, board: Board, watch: Watch) -> None:
        self._board = board
        self._watch = watch
        self._app: AppStarted | None = None
        self._unfound: BoardError | None = None
        self._boots = 0
        self._loaded = False
        self._said: deque[str] = deque(maxlen=6)

    async def wait(self) -> Booted:
        """Until the application and its port are there. Raises `BoardError` when it crashed.

        A device that dials has no port: it is waited for where it dials.
        """
        if isinstance(self._board, Dialler) and self._board.dials is not None:
            return Booted(None if self._board.console_url is None else await self._follow(), None)
        console = asyncio.ensure_future(self._follow())
        port = asyncio.ensure_future(self._answers())
        try:
            if self._board.console_url is None:
                return Booted(None, await port)
            await asyncio.wait({console, port}, return_when=asyncio.FIRST_COMPLETED)
            if port.done():  # in service; firmware that logs little may never name itself
                address = port.result()
                await asyncio.wait({console}, timeout=_NAMELESS_SECONDS)
                return Booted(console.result() if console.done() else None, address)
            app = console.result()
            if self._board.address is None:
                looked_for = isinstance(self._board, Findable)
                seconds = _FINDING_SECONDS if looked_for else _ADDRESS_SECONDS
                await asyncio.wait({port}, timeout=seconds)
            return Booted(app, None if self._board.address is None else await port)
        finally:
            for task in (console, port):
                task.cancel()
            await asyncio.gather(console, port, return_exceptions=True)

    async def _follow(self) -> AppStarted | None:
        """Read on until the application names itself; None: it talks, and gives no name."""
        deadline: float | None = None
        while True:
            left = 3600.0 if deadline is None else deadline - asyncio.get_running_loop().time()
            found = await self._watch.next(Event, timeout=left) if left > 0 else None
            if found is None:
                if deadline is None:
                    continue
                return None
            match found[1]:
                case AppStarted() as app:
                    self._app = app
                    return app
                case CrashBegan(text=text):
                    raise self._failed(f"crashed while it booted: {text}")
                case Boot() as boot:
                    if waits_for_loader(boot):
                        raise InDownloadMode
                    self._boots += 1
                    self._loaded, deadline = False, None
                    if self._boots > _LOOPING:
                        raise self._failed("boots again and again, and starts no application")
                case LogLine() as line:
                    self._said.append(line.text)
                    if deadline is None and self._is_application(line):
                        deadline = asyncio.get_running_loop().time() + _NAMELESS_SECONDS

    def _is_application(self, line: LogLine) -> bool:
        """Whether it is the application that prints this, not the ROM or the second-stage loader.

        A firmware may be built without the log records that name it (`CONFIG_LOG_DEFAULT_LEVEL`).
        """
        if line.text.startswith("entry 0x"):  # the ROM's last word: the loader runs
            self._loaded = True
            return False
        if line.level is None:
            return self._loaded
        return line.component is not None and not _LOADER_TAG.fullmatch(line.component)

    async def _answers(self) -> Address | None:
        """Until the Sendspin port takes a connection. There is nothing to wait on but trying."""
        while isinstance(self._board, Findable):
            try:
                await self._board.find()
            except BoardError as error:  # it may announce itself later: until the deadline
                self._unfound = error
            else:
                self._unfound = None
                break
        while True:
            address = self._board.address
            if address is not None and await _takes_connections(address):
                return address
            await asyncio.sleep(_RETRY_SECONDS)

    def late(self, timeout: float) -> BoardError:
        """The deadline has passed: say how far it came."""
        if self._unfound is not None:
            return self._unfound
        if self._app is None and self._board.console_url is not None:
            return self._failed(f"started no application within {timeout:g} s")
        where = self._board.address
        name = f"{where}" if where else "an address"
        return self._failed(f"booted, but {name} took no connection within {timeout:g} s")

    def _failed(self, what: str) -> NotBooted:
        said = "\n    ".join(self._said)
        return NotBooted(
            f"{self._board.name} {what}",
            hint=f"its last words:\n    {said}" if said else f"rig monitor {self._board.name}",
        )


async def _takes_connections(address: Address) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
