"""`rig flash BOARD... BUNDLE`: write firmware, verify it, see the boards boot and answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
from rich.console import Console

from firmware_flasher.bundle import Bundle
from firmware_flasher.errors import FlashError
from firmware_flasher.loading import load_bundle
from firmware_flasher.messages import Event
from firmware_flasher.progress import Bar, Display, progress_bars
from rig.boards import Board, open_board
from rig.boards.bench import Bench, find_bench
from rig.boards.flashing import (
    BOOT_SECONDS,
    Booted,
    as_rig_error,
    attach_console,
    boot_board,
    flash_board,
)
from rig.commands.options import bench_option, complete_board, holding, wait_option
from rig.console.view import printable
from rig.errors import BenchError, RigError
from rig.history import HistoryStore
from rig.report.flashed import Report, failed, flashed, line_of, show_one, show_table
from rig.triage.flashed import keep_symbols

AT_ONCE = 32
"""Boards that are flashed at the same time at most; each has a process of its own."""

EPILOG = """\b
Examples:
  rig flash virtual fixtures/firmware/v0.7.0
  rig flash kitchen build/ --bench bench.toml
  rig flash kitchen hall attic firmware.factory.bin
  rig flash --all build/

\b
BUNDLE is an ESP-IDF build folder (flasher_args.json), a merged image (.bin), an
ESPHome or PlatformIO output folder, or a zip archive of one of these.

\b
What the flash holds already is left alone, by the chip's own MD5; of what this rig
has written before, only the sectors that changed are written. A flash that was
interrupted is written anew, all of it.

\b
Exit codes: 0 every board flashed and verified, 2 wrong use or a bundle that is not
for this board, 3 a board failed.
"""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The command's options."""

    verify: bool
    erase_all: bool
    force: bool
    boot: bool
    timeout: float
    wait: bool


@click.command(name="flash", epilog=EPILOG)
@click.argument(
    "words", nargs=-1, metavar="[BOARD]... BUNDLE", required=True, shell_complete=complete_board
)
@click.option("--all", "every", is_flag=True, help="All boards of the bench that have a port.")
@bench_option
@wait_option
@click.option("--verify/--no-verify", default=True, help="Check by MD5 after writing.")
@click.option("--erase-all", is_flag=True, help="Erase all of the flash first.")
@click.option("--force", is_flag=True, help="Write broken images, and to another chip.")
@click.option("--boot/--no-boot", default=True, help="Wait until it runs and answers.")
@click.option("--timeout", default=BOOT_SECONDS, show_default=True, help="Seconds it may boot.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout: an object, or an array.")
@click.option("--verbose", is_flag=True, help="Show esptool's own words (one board).")
def command(
    words: tuple[str, ...],
    every: bool,
    bench: Path | None,
    wait: bool,
    verify: bool,
    erase_all: bool,
    force: bool,
    boot: bool,
    timeout: float,
    as_json: bool,
    verbose: bool,
) -> int:
    """Write the firmware BUNDLE to each BOARD, verify it, and see it boot.

    Several boards are flashed at the same time; one that fails stops no other.
    """
    boards, bundle = _chosen(words, find_bench(bench), every=every)
    try:
        loaded = load_bundle(bundle, force=force)
    except FlashError as error:
        raise as_rig_error(error) from error
    wishes = Wishes(verify, erase_all, force, boot, timeout, wait)
    _keep(loaded)
    if len(boards) == 1 and not every:
        report = asyncio.run(_interruptible(_one(boards[0], loaded, wishes, verbose=verbose)))
        if as_json:
            sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        else:
            show_one(Console(highlight=False), report)
        return 0
    reports = asyncio.run(_interruptible(_several(boards, loaded, wishes)))
    if as_json:
        sys.stdout.write(msgspec.json.encode(reports).decode() + "\n")
    else:
        width = None if sys.stdout.isatty() else 160
        show_table(Console(highlight=False, width=width), reports)
    return _exit_code(reports)


def _chosen(words: Sequence[str], bench: Bench, *, every: bool) -> tuple[list[Board], Path]:
    """The boards, and where the bundle is. Raises `BenchError`."""
    *names, bundle = words
    if every:
        if names:
            raise BenchError(
                f"--all, and boards by name: {', '.join(names)}", hint="one of the two"
            )
        return _all(bench), Path(bundle)
    if not names:
        raise BenchError(
            f"rig flash {bundle}: expected a BOARD and a BUNDLE, found one of them only",
            hint="rig flash kitchen build/, or rig flash --all build/; `rig boards` lists boards",
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise BenchError(f"{', '.join(twice)}: named twice", hint="name each board once")
    return [open_board(name, bench) for name in names], Path(bundle)


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


def _keep(bundle: Bundle) -> None:
    """The bundle's symbols; flashing goes on without them."""
    try:
        keep_symbols(bundle)
    except RigError as error:
        click.echo(f"rig: the symbols of {bundle.origin} are not kept: {error.message}", err=True)


def _exit_code(reports: Sequence[Report]) -> int:
    """0: all is well; else the gravest of the boards' own."""
    return max(report.exit_code for report in reports)


async def _interruptible[T](work: Coroutine[object, object, T]) -> T:
    """SIGTERM ends it as Ctrl-C does: workers end, boards are let go of."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


# One board


async def _one(board: Board, bundle: Bundle, wishes: Wishes, *, verbose: bool) -> Report:
    errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def booting() -> contextlib.AbstractContextManager[object]:
        return errors.status("booting") if errors.is_terminal else contextlib.nullcontext()

    with Display(errors, verbose=verbose) as display:
        return await _flash(board, bundle, wishes, display, booting)


async def _flash(
    board: Board,
    bundle: Bundle,
    wishes: Wishes,
    on_event: Callable[[Event], None],
    booting: Callable[[], contextlib.AbstractContextManager[object]],
) -> Report:
    """Hold a board, flash it, see it boot. Raises `RigError`."""
    with tempfile.TemporaryDirectory(prefix="rig-flash-") as folder:
        async with holding(board, f"rig flash {bundle.origin}", wait=wishes.wait):
            with HistoryStore(Path(folder) / "history.jsonl") as store:
                async with board, attach_console(board, store) as console:
                    result = await flash_board(
                        board,
                        bundle,
                        store,
                        console,
                        on_event=on_event,
                        verify=wishes.verify,
                        erase_all=wishes.erase_all,
                        force=wishes.force,
                    )
                    with booting():
                        booted = await _boot(board, store, wishes)
                    return flashed(board, bundle, result, booted)


async def _boot(board: Board, store: HistoryStore, wishes: Wishes) -> Booted | None:
    if not wishes.boot:
        if board.can_reset:
            await board.reset()
        return None
    if board.console_url is None and board.address is None:
        return None  # nothing to see it by
    return await boot_board(board, store, timeout=wishes.timeout)


# Several boards


async def _several(boards: Sequence[Board], bundle: Bundle, wishes: Wishes) -> list[Report]:
    """All of them at once; each ends in a report, well or not."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    bars = progress_bars(errors)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(board: Board, bar: Bar) -> Report:
        def booting() -> contextlib.AbstractContextManager[object]:
            bar.say("booting", done=True)
            return contextlib.nullcontext()

        async with turns:
            try:
                report = await _flash(board, bundle, wishes, bar, booting)
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

    with bars:
        shown = [(board, Bar(errors, bars, board.name, bundle.size)) for board in boards]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(board, bar)) for board, bar in shown]
    return [task.result() for task in tasks]
