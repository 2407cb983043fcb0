"""What `rig flash` does: boards held, flashed at the same time, booted, reported."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from firmware_flasher.bundle import Bundle
from firmware_flasher.errors import FlashError
from firmware_flasher.loading import load_bundle
from firmware_flasher.messages import Event
from firmware_flasher.progress import Bar, Display, progress_bars
from firmware_flasher.starting import Worker
from rig.boards import Board, open_board
from rig.boards.bench import Bench, find_bench
from rig.boards.flashing import as_rig_error, flash_board
from rig.commands.options import holding, keep_symbols_of
from rig.console.printable import printable
from rig.console.screen import Screen
from rig.errors import BenchError, RigError
from rig.history import HistoryStore
from rig.report.flashed import Report, failed, flashed, line_of, show_one, show_table

if TYPE_CHECKING:
    from rig.boards.booting import Booted
    from rig.console.capture import Capture

AT_ONCE = 32
"""Boards that are flashed at the same time at most; each has a process of its own."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The command's options."""

    verify: bool
    erase_all: bool
    force: bool
    boot: bool
    timeout: float
    wait: bool


def chosen(names: Sequence[str], path: Path | None, *, every: bool) -> list[Board]:
    """The boards by name, or `every` one of the bench in `path`. Raises `BenchError`."""
    bench = find_bench(path)
    return _all(bench) if every else [open_board(name, bench) for name in names]


def flash(
    boards: Sequence[Board],
    path: Path,
    wishes: Wishes,
    worker: Worker,
    *,
    as_json: bool,
    verbose: bool,
    single: bool,
) -> int:
    """Flash the bundle in `path`, report on stdout; the exit code. Raises `RigError`.

    `worker`: serves the first board. `single`: one board, named: told as such, not as a list.
    """
    try:
        bundle = load_bundle(path, force=wishes.force)
    except FlashError as error:
        raise as_rig_error(error) from error
    out = Screen(width=None if sys.stdout.isatty() else 160)
    if single:
        report = asyncio.run(
            _interruptible(_one(boards[0], bundle, wishes, worker, verbose=verbose))
        )
        keep_symbols_of(bundle)
        if as_json:
            sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        else:
            show_one(out, report)
        return 0
    reports = asyncio.run(_interruptible(_several(boards, bundle, wishes, worker)))
    keep_symbols_of(bundle)
    if as_json:
        sys.stdout.write(msgspec.json.encode(reports).decode() + "\n")
    else:
        show_table(out, reports)
    return max(report.exit_code for report in reports)  # the gravest


def _all(bench: Bench) -> list[Board]:
    """Every board of the bench that can be flashed from here. Nothing is opened or probed.

    A board that is not attached now is one of them: that it was not flashed must be seen.
    """
    boards = [open_board(name, bench) for name in bench.boards]
    able = [board for board in boards if _has_port(board)]
    if not able:
        where = f"in {bench.path}" if bench.path else "without a bench file"
        raise BenchError(
            f"--all: there is no board {where} that can be flashed from here",
            hint="describe some in bench.toml (`rig boards` lists what is attached), or name them: "
            "rig flash virtual virtual:2 BUNDLE",
        )
    return able


def _has_port(board: Board) -> bool:
    try:
        return board.flash_port is not None
    except RigError:  # by its MAC, and not attached
        return True


async def _interruptible[T](work: Coroutine[object, object, T]) -> T:
    """SIGTERM ends it as Ctrl-C does: workers end, boards are let go of."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


# One board


async def _one(
    board: Board, bundle: Bundle, wishes: Wishes, worker: Worker, *, verbose: bool
) -> Report:
    errors = Screen(stderr=True, soft_wrap=True)

    def booting() -> contextlib.AbstractContextManager[object]:
        return errors.status("booting") if errors.is_terminal else contextlib.nullcontext()

    with Display(errors, verbose=verbose) as display:
        return await _flash(board, bundle, wishes, worker, display, booting)


async def _flash(
    board: Board,
    bundle: Bundle,
    wishes: Wishes,
    worker: Worker | None,
    on_event: Callable[[Event], None],
    booting: Callable[[], contextlib.AbstractContextManager[object]],
) -> Report:
    """Hold a board, flash it, see it boot. Raises `RigError`."""
    async with holding(board, f"rig flash {bundle.origin}", wait=wishes.wait):
        with _passing_history() as store:
            async with board, _console(board, store, wishes) as console:
                result = await flash_board(
                    board,
                    bundle,
                    store,
                    console,
                    on_event=on_event,
                    verify=wishes.verify,
                    erase_all=wishes.erase_all,
                    force=wishes.force,
                    worker=worker,
                )
                with booting():
                    booted = await _boot(board, store, wishes)
                return flashed(board, bundle, result, booted)


@contextlib.contextmanager
def _passing_history() -> Iterator[HistoryStore]:
    """A history for the time of a flash: its file has no name any more, so no kill leaves it."""
    with tempfile.TemporaryDirectory(prefix="rig-flash-") as folder:
        store = HistoryStore(Path(folder) / "history.jsonl")
    with store:
        yield store


def _console(
    board: Board, store: HistoryStore, wishes: Wishes
) -> contextlib.AbstractAsyncContextManager[Capture | None]:
    """Attached before the reset, where somebody is going to follow it."""
    if not wishes.boot:
        return contextlib.nullcontext()
    from rig.boards.booting import attach_console  # brings the parsers: a flash needs none of them

    return attach_console(board, store)


async def _boot(board: Board, store: HistoryStore, wishes: Wishes) -> Booted | None:
    if not wishes.boot:
        if board.can_reset:
            await board.reset()
        return None
    if board.console_url is None and board.address is None:
        return None  # nothing to see it by
    from rig.boards.booting import boot_board

    return await boot_board(board, store, timeout=wishes.timeout)


# Several boards


async def _several(
    boards: Sequence[Board], bundle: Bundle, wishes: Wishes, worker: Worker
) -> list[Report]:
    """All of them at once; each ends in a report, well or not."""
    errors = Screen(stderr=True, soft_wrap=True)
    bars = progress_bars(errors)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(board: Board, bar: Bar) -> Report:
        def booting() -> contextlib.AbstractContextManager[object]:
            bar.say("booting", done=True)
            return contextlib.nullcontext()

        async with turns:
            try:
                mine = worker if board is boards[0] else None
                report = await _flash(board, bundle, wishes, mine, bar, booting)
            except RigError as error:
                report = failed(board, bundle, error)
            except Exception as error:  # noqa: BLE001 - a bug here must not cost the other boards
                errors.print_exception()
                bug = RigError(f"unexpected: {error!r}", hint="a bug of the rig: please report it")
                report = failed(board, bundle, bug)
        bar.say("failed" if report.error else "done", done=not report.error)
        errors.print(
            printable(line_of(report)), style="red" if report.error else None, markup=False
        )
        return report

    with bars or contextlib.nullcontext():
        shown = [(board, Bar(errors, bars, board.name, bundle.size)) for board in boards]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(board, bar)) for board, bar in shown]
    return [task.result() for task in tasks]
