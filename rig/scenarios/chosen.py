"""The faults of one's own choice: `rig run --faults silence-to-device,rst-forged`."""

from __future__ import annotations

from collections.abc import Sequence

from rig.errors import BenchError
from rig.faults import get_fault
from rig.faults.air_fault import AIR_FAULTS
from rig.faults.registry import all_faults
from rig.scenarios.registry import REQUIRED_CHECKS, STANDARD_CHECKS, PlayCycle, Scenario
from rig.scenarios.stage import Stage

LASTS_S = 3.0
"""How long each fault stays, once it is proven."""
NAME = "faults"


def chosen_faults(names: Sequence[str]) -> Scenario:
    """A scenario of these faults, in this order. Raises `BenchError` for a name that is none."""
    wanted = [name.strip() for name in names]
    for name in wanted:
        if "recycle" in get_fault(name).name or name == "queue-full":
            raise BenchError(
                f"{name} is one step of a recipe, and makes no sense by itself",
                hint="play its scenario: rig run recycle-fd, rig run queue-full",
            )
    return Scenario(
        name=NAME,
        title=", then ".join(wanted),
        play=_play(wanted),
        faults=tuple(dict.fromkeys(wanted)),
        cycles=1,
        checks=STANDARD_CHECKS,
        required=(*REQUIRED_CHECKS, "served_again"),
        by_default=False,
    )


def _play(names: Sequence[str]) -> PlayCycle:
    async def play(stage: Stage) -> None:
        """Each fault in the middle of traffic; then a new server."""
        for name in names:
            await _one(stage, name)
        await stage.probe()
        await stage.settle()

    return play


async def _one(stage: Stage, name: str) -> None:
    fault = all_faults()[name]
    if any(need.startswith("the air") for need in fault.needs):
        await stage.need_air()
    connection = await stage.serve()

    async def traffic() -> None:
        connection.command_volume(30)
        connection.ping(b"faults")

    await stage.strike(name, connection, act=traffic if name in AIR_FAULTS else None)
    await connection.wait_closed(LASTS_S)
    await stage.calm()
    if not connection.closed:
        connection.drop()
    await stage.greeted_anew()
    await stage.settle()
