"""`drop-queued`: a connection drops while messages for it are still queued."""

from __future__ import annotations

from rig.scenarios.recipe import stalled_pair
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage


@scenario(
    "drop-queued",
    title="a connection drops while messages for it are queued (use after free before #57)",
    cycles=2,
    faults=("stall", "rst"),
    required=(*REQUIRED_CHECKS, "served_again"),
    own_messages=True,
)
async def drop_queued(stage: Stage) -> None:
    """Stall the server task on A, let the main loop queue for A, stall it on B, drop A, then B.

    Between the two drops the main loop turns and lets go of A; after the second one the task runs
    what is left of A's work.
    """
    a, b = await stalled_pair(stage)
    await stage.talk(3)
    await stage.step()
    await stage.strike("rst", a)
    await stage.step()
    await stage.strike("rst", b)
    await stage.step()
    await stage.settle()
    await stage.probe()
    await stage.settle()
