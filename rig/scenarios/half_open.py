"""`half-open`: one side is gone without a word, the other one goes on believing."""

from __future__ import annotations

from functools import partial

from rig.scenarios.recipe import recycled_by_reap, recycled_by_swap, succeeded
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage

BURST_S = 12.0
"""A device that is not made to talk says its next word, client/time, after 10 s: until then it
believes in the dead connection, and may send a new server away for it."""


@scenario(
    "half-open",
    title="the server's socket dies without a word, then the device's; a new server each time",
    cycles=3,
    faults=("socket-killed", "rst-forged", "stall", "recycle"),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air",),
    by_default=False,
    own_messages=True,
)
async def half_open(stage: Stage) -> None:
    """The device believes and the server is gone; then the server believes and the device is.

    Then both with messages that the device has queued: what it believed in is reaped by its own
    time-out, or ended by a RST that only it hears, and a waiting server gets the socket number.
    """
    await stage.need_air()
    gone = await stage.serve()
    await stage.strike("socket-killed", gone)
    await stage.greeted_anew()
    await stage.calm()  # from here on what the device says to nobody is answered by a RST
    await stage.talk(1)
    await stage.settle()
    await stage.sockets.emptied(BURST_S)
    believing = await stage.serve()
    await succeeded(stage, partial(stage.strike, "rst-forged", believing))
    await stage.settle()
    await recycled_by_reap(stage, "socket-killed")
    await recycled_by_swap(stage, "rst-forged")
    await stage.probe()
    await stage.settle()
