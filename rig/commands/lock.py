"""`rig lock`: who holds which board; or hold one for as long as a command runs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import click
import msgspec

from rig.boards import open_board
from rig.boards.bench import find_bench
from rig.boards.lock_file import held_locks
from rig.boards.locks import HELD_FOR_A_COMMAND, things
from rig.commands.options import bench_option, complete_board, holding, wait_option
from rig.console.printable import printable
from rig.errors import BenchError, RigError

EPILOG = """\b
Examples:
  rig lock                                 who holds what
  rig lock kitchen -- picocom /dev/ttyUSB0    nobody else gets it until picocom ends
  rig lock kitchen --wait -- pytest --board kitchen tests/hil    queue for it first
"""


@click.command(name="lock", epilog=EPILOG)
@click.argument("board", required=False, shell_complete=complete_board)
@click.argument("words", nargs=-1, metavar="[-- COMMAND...]")
@bench_option
@wait_option
@click.option("--json", "as_json", is_flag=True, help="List the locks as a JSON array.")
def command(
    board: str | None, words: tuple[str, ...], bench: Path | None, wait: bool, as_json: bool
) -> int:
    """List who holds which board, or hold BOARD while COMMAND runs.

    COMMAND itself may be any of the rig's on that board. A lock ends with its holder, whatever
    ends that. The exit code is COMMAND's.
    """
    if board is None:
        return _list(as_json=as_json)
    if not words:
        raise BenchError(
            f"nothing to do while '{board}' is held: a lock ends with the process that holds it",
            hint=f"rig lock {board} -- COMMAND   (a shell will do: rig lock {board} -- $SHELL)",
        )
    return asyncio.run(_hold(board, words, bench, wait=wait))


async def _hold(name: str, words: tuple[str, ...], bench: Path | None, *, wait: bool) -> int:
    board = open_board(name, find_bench(bench))
    async with holding(board, f"{HELD_FOR_A_COMMAND} -- {Path(words[0]).name}", wait=wait):
        try:
            # The command has the terminal and its signals; there is nothing else to do meanwhile.
            ended = subprocess.run(words, check=False)  # noqa: ASYNC221
        except OSError as error:
            raise BenchError(f"cannot run {words[0]}: {error.strerror}") from error
    return ended.returncode if ended.returncode >= 0 else 128 - ended.returncode


def _list(*, as_json: bool) -> int:
    holders = list(held_locks())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(holders), indent=2))
        return 0
    names = _names()
    for held in holders:
        name = names.get(held.what)
        click.echo(printable(f"{name + '  ' if name else ''}{held.what}  {held}"))
    if not holders and sys.stdout.isatty():
        click.echo("nobody holds a board")
    return 0


def _names() -> dict[str, str]:
    """The bench's names for what is locked."""
    bench = find_bench()
    named: dict[str, str] = {}
    for name in bench.boards:
        try:
            named |= dict.fromkeys(things(open_board(name, bench)), name)
        except RigError:
            continue  # not attached: nobody can hold it
    return named
