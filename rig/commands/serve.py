"""`rig serve BOARD`: aiosendspin serves a board; what crosses the link is shown live."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import click

from rig.boards import open_board
from rig.boards.bench import find_bench
from rig.boards.flashing import bundle_for
from rig.campaign.judge import HISTORY_FILE
from rig.campaign.runner import new_out
from rig.campaign.session import Session
from rig.commands.options import bench_option, board_argument, holding, wait_option
from rig.console.view import printable
from rig.errors import BenchError
from rig.history import Entry
from rig.report.sequence import line, steps
from rig.servers.engine import check_installed
from rig.servers.reference import ReferenceServer

EPILOG = """\b
Examples:
  rig serve virtual --firmware fixtures/firmware/v0.7.0    Ctrl-C leaves
  rig serve kitchen --tone 440 --volume 20
  rig serve kitchen --for 10                               leaves after ten seconds
"""


@click.command(name="serve", epilog=EPILOG)
@board_argument
@bench_option
@click.option("--firmware", "-f", type=click.Path(path_type=Path), help="Bundle to flash first.")
@click.option("--reset", is_flag=True, help="Reset the board first.")
@click.option("--volume", type=click.IntRange(0, 100), help="Set its volume.")
@click.option("--tone", type=click.FloatRange(20, 20_000), metavar="HZ", help="Play a tone to it.")
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
    board: str,
    bench: Path | None,
    firmware: Path | None,
    reset: bool,
    volume: int | None,
    tone: float | None,
    seconds: float | None,
    out: Path | None,
    wait: bool,
) -> None:
    """Serve BOARD as its real server would, and show live what crosses the link.

    The firmware on it stays unless one is named. The whole is kept in a history that `rig wire`,
    `rig verdict` and `rig triage` read.
    """
    check_installed()
    folder = new_out(Path("out"), board) if out is None else out
    if (folder / HISTORY_FILE).exists():
        raise BenchError(
            f"{folder} holds a run already: a history is never overwritten",
            hint="choose another --out, or move the old run away",
        )
    asyncio.run(_serve(board, bench, firmware, reset, volume, tone, seconds, folder, wait))
    click.echo(f"out: {folder}", err=True)


async def _serve(
    name: str,
    bench: Path | None,
    firmware: Path | None,
    reset: bool,
    volume: int | None,
    tone: float | None,
    seconds: float | None,
    out: Path,
    wait: bool,
) -> None:
    board = open_board(name, find_bench(bench))
    bundle = bundle_for(board, firmware) if firmware is not None else None
    async with holding(board, "serve", wait=wait), Session(board, out) as session:
        click.echo(f"-- {printable(name)}: preparing", err=True)
        await session.prepare(bundle, reset=reset or bundle is not None)
        show = _Show()
        session.history.listen(show)
        async with session.new_link() as link, ReferenceServer(link) as server, _leaving() as left:
            await server.connect()
            if server.encrypted:
                await server.trust()
            if volume is not None:
                server.set_volume(volume)
            if tone is not None:
                server.play_tone(tone)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await left.wait()
        session.outcome = "done"


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


class _Show:
    """Prints each step as it comes."""

    def __init__(self) -> None:
        self._begun: int | None = None
        self._colour = os.environ.get("NO_COLOR", "") == ""
        self._width = shutil.get_terminal_size((100, 24)).columns

    def __call__(self, entry: Entry) -> None:
        for step in steps((entry,)):
            if self._begun is None:
                self._begun = entry.event.t
            step = replace(step, ms=(entry.event.t - self._begun) / 1e6)
            text = line(step, width=self._width)
            click.echo(click.style(text, fg="red") if step.loud and self._colour else text)
