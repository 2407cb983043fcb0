"""`rig unlock`: clear away what killed holders left; say who holds a board that is not free."""

from __future__ import annotations

from pathlib import Path

import click

from rig.boards import open_board
from rig.boards.bench import find_bench
from rig.boards.lock_file import remove_stale
from rig.boards.locks import BoardHeld, holder_of
from rig.commands.options import bench_option, complete_board, examples
from rig.console.printable import printable


@click.command(
    name="unlock",
    epilog=examples(
        "rig unlock",
        "rig unlock kitchen    and says whether it is free",
    ),
)
@click.argument("board", required=False, shell_complete=complete_board)
@bench_option
def command(board: str | None, bench: Path | None) -> None:
    """Clear away the notes of killed holders, and check that BOARD is free.

    Never takes a board from a process that lives: end that process, and its lock is gone.
    """
    device = open_board(board, find_bench(bench)) if board else None
    cleared = remove_stale()
    for left in cleared:
        click.echo(printable(f"{left.what}: cleared what {left} left"))
    if device is None:
        if not cleared:
            click.echo("nothing to clear away")
        return
    holder = holder_of(device)
    if holder is not None:
        raise BoardHeld(device.name, holder)
    click.echo(f"{board}: free")
