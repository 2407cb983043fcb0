"""`rig serve BOARD`: aiosendspin serves a board; what crosses the link is shown live."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from rig.boards import open_board
from rig.boards.base import Board
from rig.boards.bench import Bench, find_bench
from rig.boards.flashing import bundle_for
from rig.boards.home import state_folder
from rig.campaign.judge import HISTORY_FILE
from rig.campaign.runner import new_out
from rig.campaign.session import Session
from rig.commands.desk import Desk, stdin
from rig.commands.options import bench_option, complete_board, holding, wait_option
from rig.console.printable import printable
from rig.errors import BenchError
from rig.report.live import LiveView, Writer
from rig.servers.audio import AudioFile, Source, Tone
from rig.servers.engine import check_installed
from rig.servers.reference import ReferenceServer
from rig.servers.vault import bench_folder, open_vault

EPILOG = """\b
Examples:
  rig serve virtual --firmware fixtures/firmware/v0.7.0    Ctrl-C leaves
  rig serve kitchen --tone 440 --volume 20
  rig serve kitchen attic --file song.flac --title Song    both in one group
  rig serve kitchen --for 10                               leaves after ten seconds
  rig serve kitchen --pair printed                         pair by the code printed on it
"""
CODE = "SENDSPIN_RIG_PAIRING_CODE"
"""Where a pairing code is taken from; else it is asked for."""


@dataclass(frozen=True, slots=True)
class _Programme:
    """What is done to the boards."""

    volume: int | None
    source: Source | None
    title: str | None
    pair: str | None
    seconds: float | None


@click.command(name="serve", epilog=EPILOG)
@click.argument(
    "boards", nargs=-1, required=True, metavar="BOARD...", shell_complete=complete_board
)
@bench_option
@click.option("--firmware", "-f", type=click.Path(path_type=Path), help="Bundle to flash first.")
@click.option("--reset", is_flag=True, help="Reset the boards first.")
@click.option("--volume", type=click.IntRange(0, 100), help="Set their volume.")
@click.option("--tone", type=click.FloatRange(20, 20_000), metavar="HZ", help="Play a tone.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Play an audio file.")
@click.option("--title", help="Tell this as the title of what plays, with a picture.")
@click.option(
    "--pair",
    type=click.Choice(["printed", "shown"]),
    help=f"Pair with the first board by its code, from ${CODE} or asked for.",
)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    help="Leave after so long.  [default: at Ctrl-C]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run [out/TIME-BOARD].")
@wait_option
def command(
    boards: tuple[str, ...],
    bench: Path | None,
    firmware: Path | None,
    reset: bool,
    volume: int | None,
    tone: float | None,
    file: Path | None,
    title: str | None,
    pair: str | None,
    seconds: float | None,
    out: Path | None,
    wait: bool,
) -> None:
    """Serve each BOARD as its real server would, and show live what crosses the link.

    Several boards play in one group. While it runs, type play, pause, next, volume N, leave BOARD
    or join BOARD; a board's own controller is heeded too. The firmware stays unless one is named.
    The whole is kept in a history a board, which `rig wire`, `rig verdict` and `rig triage` read.
    Who the server is, and what it is paired with, is kept for each bench file, readable by its
    owner alone.
    """
    check_installed()
    if tone is not None and file is not None:
        raise BenchError("--tone and --file contradict each other", hint="drop one")
    if len(set(boards)) != len(boards):
        raise BenchError("a board is named twice", hint="name each once")
    source = Tone(tone) if tone is not None else AudioFile(file) if file is not None else None
    programme = _Programme(volume, source, title, pair, seconds)
    found = find_bench(bench)
    opened = [open_board(board, found) for board in boards]  # a wrong name leaves no folder behind
    folders = [_folder(board, out, alone=len(boards) == 1) for board in boards]
    served = list(zip(opened, folders, strict=True))
    asyncio.run(_serve(served, found, firmware, reset, programme, wait))
    for folder in folders:
        click.echo(f"out: {folder}", err=True)


def _folder(board: str, out: Path | None, *, alone: bool) -> Path:
    folder = new_out(Path("out"), board) if out is None else out if alone else out / board
    if (folder / HISTORY_FILE).exists():
        raise BenchError(
            f"{folder} holds a run already: a history is never overwritten",
            hint="choose another --out, or move the old run away",
        )
    return folder


async def _serve(
    served: Sequence[tuple[Board, Path]],
    bench: Bench,
    firmware: Path | None,
    reset: bool,
    programme: _Programme,
    wait: bool,
) -> None:
    vault = await open_vault(bench_folder(state_folder(), bench.path))
    async with contextlib.AsyncExitStack() as stack:
        left = await stack.enter_async_context(_leaving())
        writer = stack.enter_context(_live(left))
        links, sessions = [], []
        for board, folder in served:
            bundle = bundle_for(board, firmware) if firmware is not None else None
            await stack.enter_async_context(holding(board, "serve", wait=wait))
            session = await stack.enter_async_context(Session(board, folder))
            click.echo(f"-- {printable(board.name)}: preparing", err=True)
            await _until(left, session.prepare(bundle, reset=reset or bundle is not None))
            if left.is_set():
                raise click.Abort  # Ctrl-C before there was anything to leave in order
            view = _view(board.name if len(served) > 1 else "", writer)
            stack.callback(view.flush)
            session.history.listen(view)
            links.append(await stack.enter_async_context(session.new_link()))
            sessions.append(session)
        lost = [asyncio.create_task(session.lost()) for session in sessions]
        for watching in lost:
            watching.add_done_callback(lambda _done: left.set())
        async with ReferenceServer(*links, vault=vault) as server:
            await _until(left, _perform(server, programme))
            typed = asyncio.create_task(_typed(server, left))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(programme.seconds):
                    await left.wait()
            typed.cancel()
            await asyncio.gather(typed, return_exceptions=True)
        for watching in lost:
            if watching.done():
                await watching  # it raises what could not be written any more
            watching.cancel()
        for session in sessions:
            session.outcome = "done"


async def _typed(server: ReferenceServer, left: asyncio.Event) -> None:
    """Do what is typed, where there is a stdin."""
    if not left.is_set() and (fd := stdin()) is not None:
        await Desk(server, left).listen(fd)


async def _until(left: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, but no further than Ctrl-C."""
    doing = asyncio.create_task(work)
    leaving = asyncio.create_task(left.wait())
    await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if not doing.done():
        doing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await doing


async def _perform(server: ReferenceServer, programme: _Programme) -> None:
    await server.connect()
    if programme.pair is not None:
        await server.pair(_code, shown=programme.pair == "shown")
        click.echo("-- paired", err=True)
    await server.trust()
    if programme.volume is not None:
        server.set_volume(programme.volume)
    if programme.title is not None:
        server.performer().metadata(programme.title, "sendspin-rig")
        await server.performer().artwork()
    if programme.source is not None:
        await server.performer().play(programme.source)


async def _code() -> str:
    """The pairing code: a secret, so it is in no option."""
    given = os.environ.get(CODE)
    if given:
        return given.strip()
    if not sys.stdin.isatty():
        raise BenchError("pairing needs a code", hint=f"set ${CODE}, or run it in a terminal")
    told = await asyncio.to_thread(click.prompt, "pairing code", hide_input=True, err=True)
    return str(told).strip()


@contextlib.asynccontextmanager
async def _leaving() -> AsyncIterator[asyncio.Event]:
    """Set at Ctrl-C and SIGTERM, so that the board is left in order."""
    loop = asyncio.get_running_loop()
    left = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, left.set)
    try:
        yield left
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _live(left: asyncio.Event) -> Iterator[Writer]:
    """Writes lines on stdout; when nobody reads them any more, the board is left in order."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        loop.call_soon_threadsafe(left.set)

    writer = Writer(click.echo, gone)
    try:
        yield writer
    finally:
        writer.close()


def _view(board: str, writer: Writer) -> LiveView:
    coloured = os.environ.get("NO_COLOR", "") == ""
    return LiveView(
        writer.put,
        board=f"{printable(board)} " if board else "",
        loud=(lambda text: click.style(text, fg="red")) if coloured else str,
    )
