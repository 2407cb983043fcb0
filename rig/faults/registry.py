"""Faults declare themselves: name, parameters with units, what they need, how they are seen.

A fault is one async function that does it and then waits, with a deadline, for proof that it took
place: it returns a `Proof`, or None when none came. `rig faults` and the docs are made from the
declarations; other packages add theirs through the entry-point group `sendspin_rig.faults`.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import rig.faults
from rig.errors import BenchError, FaultError, unknown_name
from rig.history import HistoryStore, now_ns
from rig.history import events as ev

if TYPE_CHECKING:
    from rig.air.airspace import Airspace
    from rig.boards.base import Board
    from rig.servers import Connection, ScriptedServer


@dataclass(frozen=True, slots=True)
class Param:
    """A fault's parameter: `low` to `high` in `unit`."""

    name: str
    unit: str
    default: float
    low: float
    high: float
    title: str

    def checked(self, value: float) -> float:
        """`value`, if it is within range. Raises `BenchError`."""
        if not self.low <= value <= self.high:
            raise BenchError(
                f"{self.name} = {value:g} {self.unit} is out of range",
                hint=f"{self.low:g} to {self.high:g} {self.unit}",
            )
        return value


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a fault took place."""

    how: str
    evidence: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What a fault may reach for: the connection it is aimed at, and all around it."""

    history: HistoryStore
    board: Board
    server: ScriptedServer
    connection: Connection | None = None
    act: Callable[[], Awaitable[None]] | None = None
    """What happens while the fault is on, for one that is made of others (`recycle`)."""
    tells_sockets: bool = True
    """Whether the device's log tells of sockets (a debug build), as far as was seen."""
    swallow: Collection[str] = ()
    """Faults that are made to miss (`*`: all), to test the rig itself."""
    air: Airspace | None = None
    """The air around the board, for faults on packets."""

    @property
    def aim(self) -> Connection:
        """The connection it is aimed at. Raises `FaultError` when there is none."""
        if self.connection is None:
            raise FaultError("this fault is aimed at a connection, and none was given")
        return self.connection


MakeFault = Callable[..., Awaitable[Proof | None]]
"""Does the fault to a `Target`, its parameters by name, and waits for its proof."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A declared fault."""

    name: str
    title: str
    seen: str
    """How it is proven, in words."""
    make: MakeFault
    params: tuple[Param, ...] = ()
    needs: tuple[str, ...] = ()
    """What it needs of the machine or the bench (`serial socket lines`, `root`, `talk`)."""
    aimed: bool = True
    """Whether it is aimed at one connection."""
    at_link: bool = False
    """Whether the link makes it, and swallows it where it is made to miss. Any other is left undone
    by `strike` then."""

    def missed_at(self, swallow: Collection[str]) -> bool:
        """Whether `strike` leaves it undone because it is to miss."""
        return not self.at_link and (self.name in swallow or "*" in swallow)

    def arguments(self, given: Mapping[str, float]) -> dict[str, float]:
        """The parameters with defaults filled in. Raises `BenchError` for what is not one."""
        known = {param.name: param for param in self.params}
        for name in given:
            if name not in known:
                raise unknown_name(f"parameter of {self.name}", name, known, listing="rig faults")
        return {n: p.checked(float(given.get(n, p.default))) for n, p in known.items()}


_declared: dict[str, Fault] = {}
_ids = itertools.count(1)


def fault(
    name: str,
    *,
    title: str,
    seen: str,
    params: tuple[Param, ...] = (),
    needs: tuple[str, ...] = (),
    aimed: bool = True,
    at_link: bool = False,
) -> Callable[[MakeFault], MakeFault]:
    """Declare the decorated function as the fault `name`."""

    def declare(make: MakeFault) -> MakeFault:
        _declared[name] = Fault(name, title, seen, make, params, needs, aimed, at_link)
        return make

    return declare


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(rig.faults.__path__, "rig.faults."):
        importlib.import_module(module.name)
    for entry in entry_points(group="sendspin_rig.faults"):
        entry.load()


def all_faults() -> dict[str, Fault]:
    """Every fault that this installation has, by name."""
    _load()
    return dict(sorted(_declared.items()))


def get_fault(name: str) -> Fault:
    """The fault `name`. Raises `BenchError` with the nearest name."""
    faults = all_faults()
    if name not in faults:
        raise unknown_name("fault", name, faults, listing="rig faults")
    return faults[name]


async def strike(name: str, target: Target, **params: float) -> Proof | None:
    """Do the fault `name`, with `FaultAsked` before it and `FaultSeen` once it is proven.

    Returns the proof, None when none came in time. Raises `FaultError` when it cannot be made,
    `BenchError` for an unknown name or parameter.
    """
    declared = get_fault(name)
    arguments = declared.arguments(params)
    number = next(_ids)
    target.history.append(
        ev.FaultAsked(
            t=now_ns(),
            id=number,
            fault=name,
            conn=target.connection.conn if target.connection else None,
            params=dict(arguments),
        )
    )
    if declared.missed_at(target.swallow):
        return None
    proof = await declared.make(target, **arguments)
    if proof is not None:
        target.history.append(
            ev.FaultSeen(t=now_ns(), id=number, fault=name, how=proof.how, evidence=proof.evidence)
        )
    return proof


__all__ = [
    "Fault",
    "Param",
    "Proof",
    "Target",
    "all_faults",
    "fault",
    "get_fault",
    "strike",
]
