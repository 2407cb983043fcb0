"""`forged-rst`: one side believes in a RST that nobody sent; the other one knows nothing."""

from __future__ import annotations

from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import DIAL_S, Stage

_SIDES = {"device": 0.0, "server": 1.0}


@scenario(
    "forged-rst",
    title="a forged RST in a healthy connection: first the device believes it, then the server",
    cycles=3,
    faults=("rst-forged",),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air",),
    by_default=False,
)
async def forged_rst(stage: Stage) -> None:
    """After each, a new server at once: the device's freed socket number is the next one's."""
    await stage.need_air()
    for side in _SIDES.values():
        healthy = await stage.serve()
        await stage.strike("rst-forged", healthy, params={"to": side})
        again = await stage.connect(upgrade=False)
        if await again.upgrade(DIAL_S) == 101:
            await stage.hold(again)
        await stage.settle()
    await stage.probe()
    await stage.settle()
