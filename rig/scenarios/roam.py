"""`roam`: the network goes away in the middle of queued sends, and comes back."""

from __future__ import annotations

import asyncio
from functools import partial

from rig.errors import FaultError, ServerError
from rig.scenarios.recipe import recycled_by_swap, recycled_in_full
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Lacking, Stage
from rig.servers import Connection

AWAY_S = (3.0, 9.0)
"""Less and more than the 6 s without a beacon after which ESP-IDF's WiFi gives the network up
(`esp_wifi_set_inactive_time`): a cycle each, in turn."""
GAP_S = 1.0
"""A short absence, with the device's server task stalled (5 s at most) and messages queued."""
SWAPS = 2
BACK_S = 30.0
"""How long a device may take to join again and to be served."""


@scenario(
    "roam",
    title="the link goes down in the middle of queued sends, for less and for more than WiFi bears",
    cycles=2,
    faults=("link-down", "stall", "rst", "recycle"),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air", "talk"),
    by_default=False,
    own_messages=True,
)
async def roam(stage: Stage) -> None:
    """Queue states, pull the link, wait, give it back, and be served again.

    Then the recipe of `recycle-fd` with an absence in its middle: a server that finds the device
    back resets what was before, and another one gets the socket number.

    The link is the access point's radio where the bench names it, else the board's own veth or tap.
    """
    stage.need_talk()
    air = await stage.need_air()
    away = partial(_away, stage, "ap-off" if air.has_access_point else "link-down")
    connection = await stage.serve()
    await stage.talk(6)
    await away(AWAY_S[(stage.cycle - 1) % len(AWAY_S)], connection)
    again = await _back(stage)
    await stage.hold(again)
    await stage.settle()
    if not air.has_access_point:  # a station takes longer to come back than a stall holds
        await recycled_in_full(stage, "rst", meanwhile=partial(away, GAP_S))
        for _ in range(SWAPS):
            await recycled_by_swap(stage, "rst", meanwhile=partial(away, GAP_S))
    await stage.probe()
    await stage.settle()


async def _away(
    stage: Stage, fault: str, seconds: float, connection: Connection | None = None
) -> None:
    """The network is away for so long, or until `connection` ends. Raises `Lacking`."""
    try:
        await stage.strike(fault)
    except FaultError as error:
        raise Lacking(f"{error.message}; {error.hint or ''}") from error
    if connection is not None:
        await connection.wait_closed(seconds)
    else:
        await asyncio.sleep(seconds)
    await stage.calm()


async def _back(stage: Stage) -> Connection:
    """A connection as soon as the device can be dialled again. Raises `ServerError`."""
    async with asyncio.timeout(BACK_S):
        while True:
            try:
                return await stage.connect()
            except ServerError:
                await stage.step()
