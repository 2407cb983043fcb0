"""`rig boards`: every board there is a name for, and every port that may have one behind it."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rig.boards import Board, kind_class, kinds, open_board
from rig.boards.base import Stateful
from rig.boards.bench import Bench, find_bench
from rig.boards.discovery import attached
from rig.boards.locks import holder_of
from rig.commands.options import bench_option
from rig.console.view import printable
from rig.errors import BenchError, BoardError


@dataclass(frozen=True, slots=True)
class Row:
    """One board or port of the list."""

    board: str | None
    kind: str | None
    console: str | None
    address: str | None
    state: str
    usb: str | None = None
    mac: str | None = None
    adapter: str | None = None
    holder: str | None = None


@click.command(name="boards")
@bench_option
@click.option("--json", "as_json", is_flag=True, help="A JSON array on stdout.")
def command(bench: Path | None, as_json: bool) -> None:
    """List the boards of the bench, those that need none, and the ports without a name.

    Touches no board: nothing is opened, reset or plugged in.
    """
    rows = asyncio.run(_rows(find_bench(bench)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("board", "kind", "console", "address", "state", "usb", "mac", "holder"):
        table.add_column(title, overflow="fold")
    for row in rows:
        cells = [row.board, row.kind, row.console, row.address, row.state]
        cells += [row.usb, row.mac, row.holder]
        table.add_row(*(escape(printable(cell or "-")) for cell in cells))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


async def _rows(bench: Bench) -> list[Row]:
    boards = [open_board(name, bench) for name in [*bench.boards, *_without_bench()]]
    rows = [await _row(board) for board in boards]
    return [*rows, *_nameless({row.console for row in rows if row.console})]


def _nameless(consoles: set[str]) -> list[Row]:
    """Attached ports that may have an ESP32 behind them and that no board of the list uses."""
    named = {Path(console).resolve() for console in consoles if "://" not in console}
    return [
        Row(None, None, port.device, None, "not in the bench", port.usb, port.mac, port.bridge)
        for port in attached()
        if Path(port.device).resolve() not in named
    ]


def _without_bench() -> Iterator[str]:
    """The kinds whose settings all have defaults: boards by their kind's name."""
    for kind in kinds():
        cls = kind_class(kind)
        try:
            cls.Settings()
        except (BenchError, TypeError):
            continue
        yield kind
        yield from getattr(cls, "others", list)()


async def _row(board: Board) -> Row:
    try:
        console = board.console_url
        state = await board.state() if isinstance(board, Stateful) else _seen(console)
        holder = holder_of(board)
    except BoardError as error:  # a board by its MAC, that is not attached
        return Row(board.name, board.kind, None, None, error.message)
    port = next((port for port in attached() if port.device == console), None)
    return Row(
        board.name,
        board.kind,
        console,
        str(board.address) if board.address else None,
        state,
        port.usb if port else None,
        port.mac if port else None,
        port.bridge if port else None,
        str(holder) if holder else None,
    )


def _seen(console: str | None) -> str:
    """What can be said of a console without opening it."""
    if console is None:
        return "no console"
    if re.match(r"[a-z0-9]+://", console):
        return "not asked"
    return "there" if Path(console).exists() else "port missing"
