"""How a fault on packets is declared, for a run and for `rig fault` alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rig.air.protocol import AnyCommand, Flow, Way
from rig.errors import FaultError
from rig.faults.registry import Param, Proof, Target, fault
from rig.history.events import LogLine

WITHIN = Param("within", "s", 5.0, 0.1, 120.0, "how long its proof is waited for")
FOR = Param("for", "s", 30.0, 0.1, 3600.0, "how long it lasts, unless it is healed before")
DIRECTION = Param("direction", "0 both, 1 to the device, 2 to the server", 0, 0, 2, "which way")
NEEDS = ("the air: root or sudo, Linux (rig doctor)",)

WAYS: tuple[Way, ...] = ("both", "to_device", "to_server")

Values = Mapping[str, float]
MakeCommand = Callable[[str, Flow | None, Values], AnyCommand]
Told = Callable[[str], bool]
Shown = Callable[[dict[str, int]], str | None]


@dataclass(frozen=True, slots=True)
class AirFault:
    """A fault that lasts: the command that makes it, and what counters prove it."""

    name: str
    title: str
    seen: str
    command: MakeCommand
    """From the board's name, a connection or None for all of them, and the parameters."""
    proven: Shown
    params: tuple[Param, ...] = ()
    """The first is the one that `rig fault BOARD NAME=V` sets."""
    told: Told | None = None
    """What the device's own log says of it: another proof, for what counters may not show."""


AIR_FAULTS: dict[str, AirFault] = {}
"""Every fault on packets that lasts, by name."""


def declare(air: AirFault) -> None:
    """Make it a fault of the registry: aimed at a connection where one is given, else at all."""
    AIR_FAULTS[air.name] = air

    async def make(target: Target, **params: float) -> Proof | None:
        """Begin it, do what falls into it, and wait for its counters. It lasts until healed."""
        if target.air is None:
            raise FaultError(f"{air.name}: there is no air around this board")
        conn = target.connection.conn if target.connection else None
        flow = None if conn is None else target.air.flow(conn)
        command = air.command(target.board.name, flow, params)
        told = air.told or (lambda _line: False)
        with target.history.watch(
            lambda event: isinstance(event, LogLine) and told(event.text), bound=1
        ) as lines:
            effect = await target.air.begin(air.name, command)
            if target.act is not None:
                await target.act()
            shown = await target.air.proof(effect, air.proven, params["within"], lines)
        return None if shown is None else Proof(shown[0], (shown[1],))

    fault(
        air.name,
        title=air.title,
        seen=air.seen,
        params=(*air.params, FOR, WITHIN),
        needs=NEEDS,
        aimed=False,
    )(make)


def counted(*names: str, words: str) -> Shown:
    """Proven as soon as any of these counters is not zero: `N WORDS`."""

    def proven(counts: dict[str, int]) -> str | None:
        number = sum(counts.get(name, 0) for name in names)
        return f"{number} {words}" if number else None

    return proven
