"""`four-tuple-reuse`: the server dies silently and dials from the same port at once."""

from __future__ import annotations

from functools import partial

from rig.scenarios.recipe import succeeded
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage


@scenario(
    "four-tuple-reuse",
    title="a server dies without a word and dials again from the same port at once",
    cycles=3,
    faults=("four-tuple-reuse", "recycle"),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air",),
    by_default=False,
)
async def four_tuple_reuse(stage: Stage) -> None:
    """The device's TCP meets its own old connection; its application frees that one's socket
    number, and gets the new one with it."""
    await stage.need_air()
    before = await stage.serve()
    await succeeded(stage, partial(stage.strike, "four-tuple-reuse", before))
    await stage.settle()
    await stage.probe()
    await stage.settle()
