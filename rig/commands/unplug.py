"""`rig unplug BOARD`: take a board's power away, at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from rig.boards import open_board
from rig.boards.base import Pluggable
from rig.boards.bench import find_bench
from rig.commands.options import bench_option, board_argument, examples
from rig.errors import BenchError


@click.command(
    name="unplug",
    epilog=examples(
        "rig unplug virtual",
        "rig unplug virtual:2",
    ),
)
@board_argument
@bench_option
def command(board: str, bench: Path | None) -> None:
    """Unplug BOARD: its process, network and port are gone; what was flashed stays."""
    found = open_board(board, find_bench(bench))
    if not isinstance(found, Pluggable):
        raise BenchError(
            f"the rig cannot unplug '{board}': nothing it controls is in that board's power line",
            hint="pull its cable",
        )
    done = asyncio.run(found.unplug())
    click.echo(f"{board}: {'unplugged' if done else 'was not plugged in'}")
