"""`rig reset BOARD`: reset a board, as its button would."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from rig.boards import open_board
from rig.boards.bench import find_bench
from rig.boards.locks import check_free
from rig.commands.options import bench_option, board_argument, examples


@click.command(
    name="reset",
    epilog=examples(
        "rig reset kitchen",
        "rig reset virtual --download    waits there for esptool; a plain reset leaves it",
    ),
)
@board_argument
@click.option("--download", is_flag=True, help="Into the ROM's download mode.")
@bench_option
def command(board: str, download: bool, bench: Path | None) -> None:
    """Reset BOARD. It boots what it was flashed with; `rig monitor` shows it."""
    asyncio.run(_reset(board, bench, download=download))
    click.echo(f"{board}: reset{' into download mode' if download else ''}")


async def _reset(name: str, bench: Path | None, *, download: bool) -> None:
    async with open_board(name, find_bench(bench)) as board:
        check_free(board)
        await board.reset(download=download)
