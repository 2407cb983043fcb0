"""Boards are held by one at a time: locks that every process and user of this machine respects.

    async with held(board, "rig run", wait=True):
        ...
    async with held_any([first, second], "a test") as board:      # whichever is free first
        ...

A board is locked by what it is reached through (its USB place, device, URL), not by its name:
two names, or two bench files, for one port are one board. The lock is the kernel's (`flock`), so a
killed holder's is free at once. A port that a remote server hands out is locked for the users
of this machine only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from rig.boards.base import Board
from rig.boards.lock_file import Holder, LockFile
from rig.errors import BoardError

HELD_FOR_A_COMMAND = "rig lock"
"""How the purpose begins of what is held for a command's use."""
Waiting = Callable[[Holder], object]


class BoardHeld(BoardError):
    """Another process has the board."""

    def __init__(self, name: str, holder: Holder) -> None:
        """`holder`: as the lock's note says."""
        super().__init__(
            f"the board '{name}' is held by {holder}",
            hint="wait for it with --wait, end that process, or take another board; "
            "`rig lock` lists who holds what",
        )
        self.holder = holder


def things(board: Board) -> list[str]:
    """What a board is reached through, in the order in which it is locked."""
    port = board.flash_port
    urls = [url for url in (board.console_url, port.url if port else None) if url]
    if not urls and board.address:
        urls = [str(board.address)]
    return sorted({_canonical(url) for url in urls} or {f"board:{board.name}"})


def _canonical(url: str) -> str:
    """One name for one port, whichever link it was found by."""
    if "://" in url:
        return url.partition("?")[0].lower().rstrip("/")
    path = Path(os.path.abspath(url))  # noqa: PTH100 (`resolve` would follow the last link too)
    if path.parts[:2] == ("/", "dev"):
        return _usb_place(path.resolve()) or str(path.resolve())
    return str(path.parent.resolve() / path.name)  # a link to a pty outlives the pty


def _usb_place(device: Path) -> str | None:
    """`usb:1-1.2:1.0`: where the adapter is plugged in. Its tty may get another number at any time.

    Source: Linux, sysfs: a USB serial port's tty links to the interface it belongs to.
    """
    link = Path("/sys/class/tty") / device.name / "device"
    if not link.exists():
        return None
    for folder in (link.resolve(), *link.resolve().parents):
        if (folder / "bInterfaceNumber").exists():
            return f"usb:{folder.name}"
    return None


def holder_of(board: Board) -> Holder | None:
    """Who holds the board now; None: nobody."""
    return next((held for thing in things(board) if (held := LockFile(thing).holder())), None)


def check_free(board: Board) -> None:
    """Raise `BoardHeld` where somebody holds the board who did not start this process.

    For what is over in a moment (a reset): a run may call it on its own board by a command of the
    bench file.
    """
    holder = holder_of(board)
    if holder is not None and holder.pid not in _ancestors():
        raise BoardHeld(board.name, holder)


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    while pid > 1:
        yield pid
        try:
            status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return
        pid = int(status.rpartition(")")[2].split()[1])


@contextlib.asynccontextmanager
async def held(
    board: Board, purpose: str, *, wait: bool = False, on_wait: Waiting = lambda _holder: None
) -> AsyncIterator[None]:
    """Hold `board` meanwhile. Raises `BoardHeld` where another does, but with `wait` waits for it.

    `on_wait` hears whom it waits for. Put a limit to the wait with `asyncio.timeout`.
    """
    async with held_any([board], purpose, wait=wait, on_wait=on_wait):
        yield


@contextlib.asynccontextmanager
async def held_any(
    boards: Sequence[Board],
    purpose: str,
    *,
    wait: bool = True,
    on_wait: Waiting = lambda _holder: None,
) -> AsyncIterator[Board]:
    """Hold the first of `boards` that is free, and say which. Otherwise as `held`.

    What `rig lock` holds is free for the command that it runs, and for all which that starts.
    """
    taken: tuple[Board, list[LockFile]] | None = None
    busy: list[tuple[Board, Holder]] = []
    for board in boards:
        locks = [LockFile(thing) for thing in things(board)]
        holder = _take(locks, purpose)
        if holder is None:
            taken = board, locks
            break
        if holder.purpose.startswith(HELD_FOR_A_COMMAND) and holder.pid in _ancestors():
            taken = board, []
            break
        busy.append((board, holder))
    if taken is None:
        if not busy:
            raise BoardError("there is no board to choose from", hint="`rig boards` lists them")
        if not wait:
            raise BoardHeld(busy[0][0].name, busy[0][1])
        on_wait(busy[0][1])
        taken = await _first(boards, purpose)
    board, locks = taken
    try:
        yield board
    finally:
        _release(locks)


def _take(locks: list[LockFile], purpose: str, *, wait: bool = False) -> Holder | None:
    """All the locks or none: None, or who holds one of them."""
    try:
        for lock in locks:
            holder = lock.acquire(purpose, wait=wait)
            if holder is not None:
                _release(locks)
                return holder
    except BaseException:
        _release(locks)
        raise
    return None


def _release(locks: list[LockFile]) -> None:
    for lock in reversed(locks):
        lock.release()


async def _first(boards: Sequence[Board], purpose: str) -> tuple[Board, list[LockFile]]:
    """Wait for all of them, each in a thread that the kernel wakes; the first that comes wins.

    What comes later is let go of at once. A thread cannot be called back from `flock`: it is a
    daemon, which neither a cancelled wait nor the end of the process waits for.
    """
    loop = asyncio.get_running_loop()
    won: asyncio.Future[tuple[Board, list[LockFile]]] = loop.create_future()
    turn = threading.Lock()
    over = False

    def claim(board: Board) -> None:
        nonlocal over
        locks = [LockFile(thing) for thing in things(board)]
        error: BaseException | None = None
        try:
            _take(locks, purpose, wait=True)
        except BoardError as failed:
            error = failed
        with turn:
            if over:
                _release(locks)
                return
            over = True
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, (board, locks), error)
            return
        _release(locks)

    def settle(found: tuple[Board, list[LockFile]], error: BaseException | None) -> None:
        if won.done():
            _release(found[1])
        elif error is not None:
            won.set_exception(error)
        else:
            won.set_result(found)

    for board in boards:
        threading.Thread(target=claim, args=(board,), name="rig-lock", daemon=True).start()
    try:
        return await won
    except asyncio.CancelledError:
        with turn:
            over = True
        if won.done() and not won.cancelled() and won.exception() is None:
            _release(won.result()[1])
        raise
