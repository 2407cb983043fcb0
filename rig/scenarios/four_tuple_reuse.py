"""`four-tuple-reuse`: the server dies silently and dials from the same port at once."""

from __future__ import annotations

from functools import partial

from rig.scenarios.recipe import recycled_by_swap, recycled_in_full, succeeded
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage


@scenario(
    "four-tuple-reuse",
    title="a server dies without a word and dials again from the same port at once",
    cycles=3,
    faults=("four-tuple-reuse", "stall", "recycle"),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air",),
    by_default=False,
    own_messages=True,
)
async def four_tuple_reuse(stage: Stage) -> None:
    """The device's TCP meets its own old connection; its application frees that one's socket
    number, and gets the new one with it. Then the same with messages that the device has queued.
    """
    await stage.need_air()
    before = await stage.serve()
    await succeeded(stage, partial(stage.strike, "four-tuple-reuse", before))
    await stage.settle()
    await recycled_in_full(stage, "four-tuple-reuse")
    await recycled_by_swap(stage, "four-tuple-reuse")
    await stage.probe()
    await stage.settle()
