"""`rig read-flash BOARD FILE`: what is in a board's flash."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from firmware_flasher.errors import FlashError
from firmware_flasher.flasher import read_flash
from firmware_flasher.progress import Display
from rig.boards import Board, open_board
from rig.boards.bench import find_bench
from rig.boards.flashing import as_rig_error
from rig.commands.options import (
    BYTES,
    bench_option,
    board_argument,
    examples,
    flash_access,
    holding,
    wait_option,
)
from rig.console.screen import Screen


@click.command(
    name="read-flash",
    epilog=examples(
        "rig read-flash kitchen dump.bin                    all of it",
        "rig read-flash kitchen nvs.bin --offset 0x9000 --size 0x6000",
    ),
)
@board_argument
@click.argument("output", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--offset", type=BYTES, default="0", show_default=True, help="First byte.")
@click.option("--size", type=BYTES, help="Bytes to read.  [default: to the end]")
@bench_option
@wait_option
def command(
    board: str, output: Path, offset: int, size: int | None, bench: Path | None, wait: bool
) -> None:
    """Read BOARD's flash into FILE, and reset the board. Numbers may be hexadecimal (0x9000)."""
    found = open_board(board, find_bench(bench))
    count = asyncio.run(_read(found, output, offset, size, wait=wait))
    click.echo(f"{board}: {count} bytes from {offset:#x} in {output}")


async def _read(board: Board, output: Path, offset: int, size: int | None, *, wait: bool) -> int:
    async with holding(board, "rig read-flash", wait=wait), board:
        port, reset = flash_access(board)
        with Display(Screen(stderr=True)) as display:
            try:
                data = await read_flash(
                    port, output, offset=offset, size=size, on_event=display, reset=reset
                )
            except FlashError as error:
                raise as_rig_error(error) from error
    return len(data)
