"""`close-storm`: many connections that open and end in every way."""

from __future__ import annotations

from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage

GUSTS = 40
"""Steps of a storm."""


@scenario(
    "close-storm",
    title="many opens, closes, half frames and resets in an order that the seed decides",
    cycles=1,
    faults=("storm",),
    required=(*REQUIRED_CHECKS, "served_again"),
)
async def close_storm(stage: Stage) -> None:
    """The storm, then a connection that ought to be served."""
    seed = stage.rng.randrange(2**31)
    await stage.strike("storm", params={"connections": GUSTS, "seed": seed})
    await stage.settle()
    await stage.probe()
    await stage.settle()
