"""`rig boards`: every board there is a name for, and every port that may have one behind it."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from rig.boards import Board, kind_class, kinds, open_board
from rig.boards.base import Identified, Identity, Stateful
from rig.boards.bench import Bench, bench_file, find_bench, read_bench_text
from rig.boards.discovery import FoundPort, attached
from rig.boards.locks import holder_of
from rig.commands.options import bench_option
from rig.console.printable import printable
from rig.console.screen import Screen
from rig.errors import BenchError, BoardError, RigError

EPILOG = """\b
Examples:
  rig boards                        what is attached, what runs on it, who holds it
  rig boards --probe                ask each chip who it is (resets the boards that nobody holds)
  rig boards adopt                  write what is attached into bench.toml
  rig boards adopt /dev/ttyUSB0 --name kitchen
  rig boards --json | jq '.[].mac'
"""
ADOPT_EPILOG = """\b
Examples:
  rig boards adopt                                 all that are attached
  rig boards adopt --name kitchen                  the only one
  rig boards adopt /dev/ttyUSB0 --name kitchen
  rig boards adopt --dry-run                       shows what would be written
"""
NOTHING_ATTACHED = (
    "plug it in by a cable that carries data, and look for it: ls /dev/ttyUSB* /dev/ttyACM*; one "
    'with another adapter goes into bench.toml by hand: [boards.NAME] and port = "/dev/..."'
)
"""What next where no port is one of an ESP32's."""
PROBES = 4
"""Boards that are asked at the same time: each takes a process with esptool in it."""


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
    chip: str | None = None
    revision: str | None = None
    firmware: str | None = None
    link: str | None = None


COLUMNS = {
    "board": "board",
    "chip": "chip",
    "rev": "revision",
    "mac": "mac",
    "usb": "usb",
    "port": "console",
    "runs": "firmware",
    "state": "state",
    "address": "address",
    "held by": "holder",
}
"""The table's columns and the fields in them."""


@click.group(name="boards", invoke_without_command=True, epilog=EPILOG)
@bench_option
@click.option("--probe", is_flag=True, help="Ask each chip that nobody holds who it is: resets it.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array on stdout.")
@click.pass_context
def command(ctx: click.Context, bench: Path | None, probe: bool, as_json: bool) -> int:
    """List the boards of the bench, those that need none, and the ports without a name.

    Touches no board without --probe: nothing is opened, reset or plugged in. What is shown of a
    chip is what it said when it was last asked (by a probe or a flash).
    """
    if ctx.invoked_subcommand is not None:
        return 0
    found = find_bench(bench)
    failed = asyncio.run(_probe_all(found)) if probe else {}
    rows = asyncio.run(_rows(found, failed))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
    else:
        _show(rows)
    for error in failed.values():
        _complain(error)
    return BoardError.exit_code if failed else 0


@command.command(name="adopt", epilog=ADOPT_EPILOG)
@click.argument("ports", nargs=-1, metavar="[PORT]...")
@click.option("--name", help="The board's name, where one PORT is adopted.  [default: chip-MAC]")
@click.option("--probe/--no-probe", default=True, help="Ask chips whose MAC is not known.")
@click.option("--dry-run", is_flag=True, help="Say what would be written; write nothing.")
@bench_option
def adopt_command(
    ports: tuple[str, ...], name: str | None, probe: bool, dry_run: bool, bench: Path | None
) -> int:
    """Write the attached boards that the bench has no name for into its file.

    By MAC and USB place; a board that moved to another place gets its new one. What is in the file
    stays as it is, comments too; without a file, bench.toml is made. A chip whose MAC is not known
    is asked, which resets it (not with --no-probe: then its USB place must do).
    """
    from rig.boards.adopting import adopt, write_bench

    path = bench_file(bench)
    source, known = read_bench_text(path)
    chosen = _chosen(ports)
    if not chosen:
        raise BoardError("no ESP32 is attached to this machine", hint=NOTHING_ATTACHED)
    if name is not None and len(chosen) != 1:
        raise BenchError(
            f"--name {name} names one board, and there are {len(chosen)} ports",
            hint=f"name the port as well: rig boards adopt {chosen[0].device} --name {name}",
        )
    failed = asyncio.run(_probe_ports([p for p in chosen if p.mac is None])) if probe else {}
    now = {port.device: port for port in attached()}
    ready = [now.get(p.device, p) for p in chosen if p.device not in failed]
    text, adopted = adopt(source, path, known, ready, name)
    if adopted and not dry_run:
        write_bench(path, text)
    done = "would write" if dry_run else "wrote"
    for one in adopted:
        where = f"{one.port.mac or 'MAC not known'} at {one.port.usb or one.port.device}"
        moved = f", moved from {one.moved_from}" if one.moved_from else ""
        click.echo(printable(f"{path}: {done} {one.name} ({where}{moved})"))
    if not adopted and not failed:
        click.echo(f"{path}: nothing to add: {_why_nothing(chosen)}")
    for error in failed.values():
        _complain(error)
    return BoardError.exit_code if failed else 0


def _why_nothing(chosen: Sequence[FoundPort]) -> str:
    return "it has " + ("the attached board" if len(chosen) == 1 else "every attached board")


def _chosen(names: Sequence[str]) -> list[FoundPort]:
    """The attached ports by device, link, USB place or MAC; all of them without names."""
    there = attached()
    if not names:
        return there
    found = []
    for name in names:
        fits = [
            port
            for port in there
            if name in (port.device, port.link, port.usb, port.place, port.mac)
            or str(Path(name).resolve()) == str(Path(port.device).resolve())
        ]
        if len(fits) != 1:
            raise BenchError(
                f"'{name}' is {'any of several ports' if fits else 'no attached port of an ESP32'}",
                hint=f"attached: {', '.join(port.device for port in there)}"
                if there
                else NOTHING_ATTACHED,
            )
        found.append(fits[0])
    return found


def _complain(error: RigError) -> None:
    click.secho(printable(f"error: {error.message}"), fg="red", err=True)
    if error.hint:
        click.echo(printable(f"  next: {error.hint}"), err=True)


def _show(rows: Sequence[Row]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in COLUMNS:
        table.add_column(title, overflow="fold")
    for row in rows:
        cells = [getattr(row, field) for field in COLUMNS.values()]
        table.add_row(*(escape(printable(cell or "-")) for cell in cells))
    Screen(width=None if sys.stdout.isatty() else 240).print(table)


# Asking


async def _probe_all(bench: Bench) -> dict[str, RigError]:
    """Ask the bench's boards and the nameless ports; by name, those that did not answer."""
    from rig.boards.adopting import board_on

    boards: list[Board] = [open_board(name, bench) for name in bench.boards]
    taken = {console for board in boards if (console := _console(board))}
    boards += [board_on(port) for port in _nameless(taken)]
    return await _probe(boards)


async def _probe_ports(ports: Sequence[FoundPort]) -> dict[str, RigError]:
    from rig.boards.adopting import board_on

    return await _probe([board_on(port, port.device) for port in ports])


async def _probe(boards: Sequence[Board]) -> dict[str, RigError]:
    from rig.boards.flash_content import probe
    from rig.boards.locks import BoardHeld, held

    failed: dict[str, RigError] = {}
    room = asyncio.Semaphore(PROBES)

    async def ask(board: Board) -> None:
        try:
            if board.flash_port is None or not isinstance(board, Identified):
                return
            async with room, held(board, "rig boards --probe"), board:
                board.remember(await probe(board))
        except BoardHeld:
            return  # it is at work; the list says by whom
        except RigError as error:
            failed[board.name] = error

    async with asyncio.TaskGroup() as group:
        for board in boards:
            group.create_task(ask(board))
    return failed


# Listing


async def _rows(bench: Bench, failed: dict[str, RigError]) -> list[Row]:
    boards = [open_board(name, bench) for name in [*bench.boards, *_without_bench()]]
    rows = [await _row(board, failed.get(board.name)) for board in boards]
    return [*rows, *(_port_row(port) for port in _nameless({r.console for r in rows if r.console}))]


def _console(board: Board) -> str | None:
    try:
        return board.console_url
    except BoardError:  # a board by its MAC, that is not attached
        return None


def _nameless(consoles: set[str]) -> list[FoundPort]:
    """Attached ports that may have an ESP32 behind them and that no board of the list uses."""
    named = {Path(console).resolve() for console in consoles if "://" not in console}
    return [port for port in attached() if Path(port.device).resolve() not in named]


def _port_row(port: FoundPort) -> Row:
    from rig.boards.adopting import board_on

    holder = holder_of(board_on(port))
    return _filled(
        Row(None, None, port.device, None, "not in the bench"),
        port,
        port.identity,
        str(holder) if holder else None,
    )


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


async def _row(board: Board, failed: RigError | None) -> Row:
    try:
        console = board.console_url
        state = await board.state() if isinstance(board, Stateful) else _seen(console)
        holder = holder_of(board)
        identity = await board.identity() if isinstance(board, Identified) else None
    except BoardError as error:  # a board by its MAC, that is not attached
        state = error.message.partition(") ")[2].removeprefix("is ") or error.message
        return Row(board.name, board.kind, None, None, state)
    port = next((port for port in attached() if port.device == console), None)
    if identity is None and port is not None:
        identity = port.identity
    address = str(board.address) if board.address else None
    state = state if failed is None else f"did not answer ({state})"
    row = Row(board.name, board.kind, console, address, state)
    return _filled(row, port, identity, str(holder) if holder else None)


def _filled(row: Row, port: FoundPort | None, identity: Identity | None, holder: str | None) -> Row:
    return replace(
        row,
        usb=port.usb if port else None,
        mac=(identity.mac or None) if identity else None,
        adapter=port.bridge if port else None,
        holder=holder,
        chip=identity.chip if identity else None,
        revision=identity.revision if identity else None,
        firmware=identity.firmware if identity else None,
        link=port.link if port else None,
    )


def _seen(console: str | None) -> str:
    """What can be said of a console without opening it."""
    if console is None:
        return "no console"
    if re.match(r"[a-z0-9]+://", console):
        return "not asked"
    return "there" if Path(console).exists() else "port missing"
