"""`rig erase BOARD`: make a board's flash blank."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from firmware_flasher.errors import FlashError
from firmware_flasher.flasher import erase_flash
from firmware_flasher.progress import Display
from rig.boards import Board, open_board
from rig.boards.bench import find_bench
from rig.boards.flashing import as_rig_error, flash_memory
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
    name="erase",
    epilog=examples(
        "rig erase kitchen                                  all of it",
        "rig erase kitchen --offset 0x9000 --size 0x6000",
    ),
)
@board_argument
@click.option("--offset", type=BYTES, default="0", show_default=True, help="First byte.")
@click.option("--size", type=BYTES, help="Bytes to erase.  [default: all of the flash]")
@bench_option
@wait_option
def command(board: str, offset: int, size: int | None, bench: Path | None, wait: bool) -> None:
    """Erase BOARD's flash, see that it is blank, and reset the board.

    Offset and size are multiples of 4096; numbers may be hexadecimal (0x9000).
    """
    found = open_board(board, find_bench(bench))
    asyncio.run(_erase(found, offset, size, wait=wait))
    click.echo(f"{board}: erased {'all of it' if size is None else f'{size} bytes'}")


async def _erase(board: Board, offset: int, size: int | None, *, wait: bool) -> None:
    async with holding(board, "rig erase", wait=wait), board:
        port, reset = flash_access(board)
        with Display(Screen(stderr=True)) as display:
            try:
                await erase_flash(
                    port,
                    offset=offset,
                    size=size,
                    on_event=display,
                    reset=reset,
                    memory=flash_memory(),
                )
            except FlashError as error:
                raise as_rig_error(error) from error
