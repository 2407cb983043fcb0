"""`two-servers`: a second server inside the first one's hello delay."""

from __future__ import annotations

import asyncio

from rig.scenarios.device import HELLO_AT_ONCE_S
from rig.scenarios.registry import scenario
from rig.scenarios.stage import Lacking, Stage


@scenario(
    "two-servers",
    title="a second server connects inside the first one's hello delay (never greeted before #60)",
    cycles=3,
)
async def two_servers(stage: Stage) -> None:
    """At once, then half a hello delay apart; both are only waited on and ought to be greeted."""
    if (stage.device.sessions or 2) < 2:
        raise Lacking("the device serves one connection at a time: two are needed")
    delay = stage.device.hello_delay
    for apart in (0.0, delay / 2) if delay >= HELLO_AT_ONCE_S else (0.0,):
        first = await stage.connect()
        if apart:
            await asyncio.sleep(apart)  # the gap is the stimulus
        second = await stage.connect()
        await asyncio.gather(stage.hold(first), stage.hold(second))
        await stage.settle()
