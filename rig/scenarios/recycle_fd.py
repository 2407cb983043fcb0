"""`recycle-fd`: a waiting connection takes the socket number of a dropped one."""

from __future__ import annotations

from rig.scenarios.recipe import recycled_by_swap, recycled_in_full
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage

SWAPS = 3
"""Swaps alone in a cycle: a device that leaks by them does so in 8 of 10 (v0.6.1, measured)."""


@scenario(
    "recycle-fd",
    title="a waiting connection takes the dropped one's socket number while frames are queued",
    cycles=2,
    faults=("stall", "rst", "recycle"),
    required=(*REQUIRED_CHECKS, "served_again"),
    own_messages=True,
)
async def recycle_fd(stage: Stage) -> None:
    """The full recipe (two stalls), then the swap alone (one stall), several times."""
    await recycled_in_full(stage, "rst")
    for _ in range(SWAPS):
        await recycled_by_swap(stage, "rst")
    await stage.probe()
    await stage.settle()
