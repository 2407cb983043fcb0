"""`rig power BOARD on|off|cycle`: switch a board's supply."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from rig.boards import Board, open_board
from rig.boards.base import Powered
from rig.boards.bench import find_bench
from rig.boards.locks import BoardHeld, check_free
from rig.boards.power import OFF_SECONDS
from rig.commands.options import bench_option, board_argument
from rig.errors import BenchError, BoardError

EPILOG = """\b
Examples:
  rig power kitchen cycle                    off, two seconds, on
  rig power kitchen cycle --off-seconds 10
  rig power virtual off

\b
How a board's power is switched stands in its bench table:
  [boards.kitchen.power]
  on  = "usbrelay BITFT_1=1"           or   uhubctl  = "1-1"
  off = "usbrelay BITFT_1=0"                hub_port = 3
"""


@click.command(name="power", epilog=EPILOG)
@board_argument
@click.argument("what", type=click.Choice(["on", "off", "cycle"]))
@click.option(
    "--off-seconds",
    type=click.FloatRange(0, 600),
    help=f"How long a cycle leaves it off.  [default: the bench's, or {OFF_SECONDS:g}]",
)
@bench_option
def command(board: str, what: str, off_seconds: float | None, bench: Path | None) -> None:
    """Switch BOARD's power. Leaves alone what another process holds."""
    asyncio.run(_power(open_board(board, find_bench(bench)), what, off_seconds))
    click.echo(f"{board}: power {'was off, and is on' if what == 'cycle' else what}")


async def _power(board: Board, what: str, off_seconds: float | None) -> None:
    if not isinstance(board, Powered) or not board.can_power:
        raise BenchError(
            f"the rig cannot switch the power of '{board.name}'",
            hint="say how in its bench table: [boards.NAME.power] (docs/bench.md)",
        )
    _check_free(board)
    if what != "cycle":
        await board.power(what == "on")
        return
    usual = float(getattr(board, "off_seconds", OFF_SECONDS))
    await board.power(False)
    try:
        await asyncio.sleep(usual if off_seconds is None else off_seconds)
    finally:
        await board.power(True)


def _check_free(board: Board) -> None:
    """A board by its MAC whose power is off is not attached: nobody can be said to hold it."""
    try:
        check_free(board)
    except BoardHeld:
        raise
    except BoardError:
        return
