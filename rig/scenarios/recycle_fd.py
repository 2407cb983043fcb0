"""`recycle-fd`: a waiting connection takes the socket number of a dropped one."""

from __future__ import annotations

from rig.scenarios.recipe import stalled, stalled_pair
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import DIAL_S, Stage
from rig.servers import Connection

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
    await _full(stage)
    for _ in range(SWAPS):
        await _swap(stage)
    await stage.probe()
    await stage.settle()


async def _full(stage: Stage) -> None:
    a, b = await stalled_pair(stage)
    await stage.talk(3)
    c = await _waiting(stage)

    async def drop() -> None:
        await stage.strike("rst", a)
        await stage.step()
        await stage.strike("rst", b)

    await stage.strike("recycle", c, act=drop)
    await _hold(stage, c)


async def _swap(stage: Stage) -> None:
    a = await stalled(stage)
    c = await _waiting(stage)

    async def drop() -> None:
        await stage.strike("rst", a)

    await stage.strike("recycle", c, act=drop)
    await _hold(stage, c)


async def _waiting(stage: Stage) -> Connection:
    """A connection that asked for its upgrade while the server task is stalled."""
    c = await stage.connect(upgrade=False)
    c.ask_upgrade()
    await stage.step()
    return c


async def _hold(stage: Stage, c: Connection) -> None:
    if await c.wait_upgrade(DIAL_S) == 101:
        await stage.hold(c)
    await stage.settle()
