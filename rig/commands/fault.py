"""`rig fault BOARD NAME[=VALUE],... for 30s`: faults on packets by hand, with a live view."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rig.air.airspace import resolved
from rig.air.client import Air
from rig.air.protocol import Capture, Seen
from rig.boards import Board, open_board
from rig.boards.bench import find_bench
from rig.boards.locks import BoardHeld
from rig.campaign.radio import radio_of
from rig.commands.options import bench_option, board_argument, complete_fault, holding, wait_option
from rig.console.screen import Screen
from rig.errors import BenchError, BoardError, FaultError, unknown_name
from rig.faults.air_fault import AIR_FAULTS, FOR, AirFault
from rig.faults.registry import all_faults

DEFAULT_S = 30.0
GLANCE_S = 0.5
_UNITS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}


Asked = tuple[AirFault, str, dict[str, float]]
"""A fault, the words that asked for it, its parameters."""


@dataclass(slots=True)
class Line:
    """A fault that is up, and what is known of it."""

    fault: AirFault
    text: str
    effect: int = 0
    counts: dict[str, int] | None = None
    seen: str | None = None


@click.command(name="fault")
@board_argument
@click.argument("faults", metavar="NAME[=VALUE][,...]", shell_complete=complete_fault)
@click.argument("duration", nargs=-1, metavar="[for 30s]")
@bench_option
@wait_option
def command(
    board: str, faults: str, duration: tuple[str, ...], bench: Path | None, wait: bool
) -> int:
    """Make network faults on BOARD by hand; they heal when the time is up, or on Ctrl-C.

    \b
    rig fault kitchen loss=20% for 30s
    rig fault kitchen packet-delay=200ms,rate=64 for 2m
    rig fault virtual silence-to-device for 10s

    The value is the fault's first parameter; others are named: loss=20%:direction=1. `rig faults`
    lists them. The board is held meanwhile; for faults in a run there is `rig run --faults`. Exit
    codes: 0 every fault was seen, 3 one was not, or another process holds the board.
    """
    seconds = _seconds(duration)
    parsed = [_parsed(words) for words in faults.split(",")]
    return asyncio.run(_play(board, bench, parsed, seconds, wait=wait))


def _seconds(words: tuple[str, ...]) -> float:
    if not words:
        return DEFAULT_S
    text = "".join(words[1:]) if words[0] == "for" else ""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", text)
    if found is None or found[2] not in _UNITS:
        raise BenchError(f"'{' '.join(words)}' says no duration", hint="for example: for 30s")
    return FOR.checked(float(found[1]) * _UNITS[found[2]])


def _parsed(words: str) -> Asked:
    """`loss=20%:direction=1` -> the fault, the words, its parameters. Raises `BenchError`."""
    name, *more = words.strip().split(":")
    name, equals, value = name.partition("=")
    fault = AIR_FAULTS.get(name) if all_faults() else None
    if fault is None:
        if name in all_faults():
            raise BenchError(
                f"{name} is not made by hand: it belongs to one connection of a run",
                hint=f"by hand: {', '.join(sorted(AIR_FAULTS))}",
            )
        raise unknown_name("fault", name, AIR_FAULTS, listing="rig faults")
    values = {param.name: param.default for param in fault.params}
    given = [f"{fault.params[0].name}={value}", *more] if equals and fault.params else more
    if equals and not fault.params:
        raise BenchError(f"{name} takes no value, found {value!r}")
    for each in given:
        key, _, text = each.partition("=")
        param = next((param for param in fault.params if param.name == key), None)
        if param is None:
            raise unknown_name(f"parameter of {name}", key, values, listing="rig faults")
        number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([^\d\s]*)", text)
        unit = param.unit.split()[0] if param.unit else ""
        if number is None or number[2] not in ("", unit, unit.partition("/")[0]):
            raise BenchError(f"{name}: {key} = {text!r} is no number in {unit or 'units'}")
        values[key] = param.checked(float(number[1]))
    return fault, words, values


async def _play(
    name: str,
    bench: Path | None,
    parsed: Sequence[Asked],
    seconds: float,
    *,
    wait: bool,
) -> int:
    benched = find_bench(bench)
    device = open_board(name, benched)
    async with _held(device, parsed, wait=wait), device as board:
        if board.address is None:
            raise BenchError(f"{name} has no address", hint="give its `address` in bench.toml")
        address = await resolved(name, board.address.host)
        ports, radio = {name: board.address.port}, radio_of(benched)
        async with Air({name: address}, ports=ports, radio=radio) as air:
            tally = _Tally()
            air.on_seen = tally.take
            await air.ask(Capture(board=name, seconds=min(3600.0, seconds + 10)))
            lines = [Line(fault, words) for fault, words, _ in parsed]
            for line, (fault, _, values) in zip(lines, parsed, strict=True):
                made = fault.command(name, None, values | {"for": seconds})
                line.effect = (await air.ask(made)).effect or 0
            await _watch(air, lines, tally, seconds)
            for line in lines:
                line.counts = await _last(air, line)
    _conclude(lines, tally)
    return 0 if all(line.seen for line in lines) else FaultError.exit_code


@contextlib.asynccontextmanager
async def _held(board: Board, parsed: Sequence[Asked], *, wait: bool) -> AsyncIterator[None]:
    """Hold the board; beside a run no fault is made, for nobody could tell whose it was."""
    try:
        async with holding(board, "rig fault", wait=wait):
            yield
    except BoardHeld as error:
        if not error.holder.purpose.startswith("rig run"):
            raise
        names = ",".join(fault.name for fault, _, _ in parsed)
        raise BoardError(
            error.message,
            hint=f"a run makes its own faults, and proves them: rig run --faults {names}; "
            "or wait until it is over: --wait",
        ) from error


class _Tally:
    """What crossed, in numbers."""

    def __init__(self) -> None:
        self.packets = self.retransmissions = self.resets = 0

    def take(self, seen: Seen) -> None:
        self.packets += 1
        self.retransmissions += seen.retransmission
        self.resets += "R" in seen.flags

    def __str__(self) -> str:
        return (
            f"{self.packets} TCP segments, {self.retransmissions} retransmissions, "
            f"{self.resets} resets"
        )


async def _watch(air: Air, lines: list[Line], tally: _Tally, seconds: float) -> None:
    """Show the counters until the time is up."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    console = Screen(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (left := end - loop.time()) > 0:
            for line in lines:
                line.counts = await _last(air, line, still=True)
            if console.is_terminal:
                live.update(_view(lines, tally, left), refresh=True)
            await asyncio.sleep(min(GLANCE_S, left))


async def _last(air: Air, line: Line, *, still: bool = False) -> dict[str, int]:
    """A fault's counters now; those known so far once it is over."""
    try:
        counts = await (air.counts(line.effect) if still else air.heal(line.effect))
    except FaultError:
        counts = line.counts or {}
    line.seen = line.fault.proven(counts) or line.seen
    return counts


def _view(lines: list[Line], tally: _Tally, left: float) -> Group:
    table = Table(box=None, pad_edge=False)
    for line in lines:
        table.add_row(Text(line.text, "bold"), Text(line.seen or "not seen yet"))
    return Group(table, Text(f"{tally}; heals in {left:.0f} s, or on Ctrl-C", "dim"))


def _conclude(lines: list[Line], tally: _Tally) -> None:
    for line in lines:
        seen = line.seen or "not seen: nothing that it could have met"
        click.echo(f"{line.text}: {seen}")
    click.echo(f"{tally}; healed", file=sys.stdout)
