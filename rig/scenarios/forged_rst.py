"""`forged-rst`: one side believes in a RST that nobody sent; the other one knows nothing."""

from __future__ import annotations

from functools import partial

from rig.scenarios.recipe import recycled_by_swap, recycled_in_full, succeeded
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage

DEVICE, SERVER = {"to": 0.0}, {"to": 1.0}


@scenario(
    "forged-rst",
    title="a forged RST in a healthy connection: first the device believes it, then the server",
    cycles=3,
    faults=("rst-forged", "stall", "recycle"),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air",),
    by_default=False,
    own_messages=True,
)
async def forged_rst(stage: Stage) -> None:
    """After each, a new server at once: it gets the socket number that the device has freed.

    Then the same with messages that the device has queued, by the recipe of `recycle-fd`.
    """
    await stage.need_air()
    healthy = await stage.serve()
    await succeeded(stage, partial(stage.strike, "rst-forged", healthy, params=DEVICE))
    await stage.settle()
    healthy = await stage.serve()
    await stage.strike("rst-forged", healthy, params=SERVER)
    await stage.greeted_anew()
    await stage.settle()
    await recycled_in_full(stage, "rst-forged")
    await recycled_by_swap(stage, "rst-forged")
    await stage.probe()
    await stage.settle()
