"""`four-tuple-reuse`: the server dies silently and dials from the same port at once."""

from __future__ import annotations

from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import DIAL_S, Stage


@scenario(
    "four-tuple-reuse",
    title="a server dies without a word and dials again from the same port at once",
    cycles=3,
    faults=("four-tuple-reuse",),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air",),
    by_default=False,
)
async def four_tuple_reuse(stage: Stage) -> None:
    """The device's TCP meets its own old connection, then its application gets a new one."""
    await stage.need_air()
    before = await stage.serve()
    await stage.strike("four-tuple-reuse", before)
    again = stage.server.connections[-1]
    if again is not before and await again.upgrade(DIAL_S) == 101:
        await stage.hold(again)
    await stage.settle()
    await stage.probe()
    await stage.settle()
