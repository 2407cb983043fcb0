"""`half-open`: one side is gone without a word, the other one goes on believing."""

from __future__ import annotations

from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import DIAL_S, Stage


@scenario(
    "half-open",
    title="the server's socket dies without a word, then the device's; a new server each time",
    cycles=3,
    faults=("socket-killed", "rst-forged"),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air",),
    by_default=False,
)
async def half_open(stage: Stage) -> None:
    """The device believes and the server is gone; then the server believes and the device is."""
    await stage.need_air()
    gone = await stage.serve()
    await stage.strike("socket-killed", gone)
    await _new_server(stage)
    await stage.calm()
    believing = await stage.serve()
    await stage.strike("rst-forged", believing)
    await _new_server(stage)
    await stage.probe()
    await stage.settle()


async def _new_server(stage: Stage) -> None:
    again = await stage.connect(upgrade=False)
    if await again.upgrade(DIAL_S) == 101:
        await stage.hold(again)
    await stage.settle()
