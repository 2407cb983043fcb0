"""`roam`: the network goes away in the middle of queued sends, and comes back."""

from __future__ import annotations

import asyncio

from rig.errors import FaultError, ServerError
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Lacking, Stage
from rig.servers import Connection

AWAY_S = (3.0, 9.0)
"""Less and more than the 6 s without a beacon after which ESP-IDF's WiFi gives the network up
(`esp_wifi_set_inactive_time`): a cycle each, in turn."""
BACK_S = 30.0
"""How long a device may take to join again and to be served."""


@scenario(
    "roam",
    title="the link goes down in the middle of queued sends, for less and for more than WiFi bears",
    cycles=2,
    faults=("link-down",),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air", "talk"),
    by_default=False,
)
async def roam(stage: Stage) -> None:
    """Queue states, pull the link, wait, give it back, and be served again.

    The link is the access point's radio where the bench names it, else the board's own veth or tap.
    """
    stage.need_talk()
    air = await stage.need_air()
    connection = await stage.serve()
    await stage.talk(6)
    try:
        await stage.strike("ap-off" if air.has_access_point else "link-down")
    except FaultError as error:
        raise Lacking(f"{error.message}; {error.hint or ''}") from error
    await connection.wait_closed(AWAY_S[(stage.cycle - 1) % len(AWAY_S)])
    await stage.calm()
    again = await _back(stage)
    await stage.hold(again)
    await stage.settle()
    await stage.probe()
    await stage.settle()


async def _back(stage: Stage) -> Connection:
    """A connection as soon as the device can be dialled again. Raises `ServerError`."""
    async with asyncio.timeout(BACK_S):
        while True:
            try:
                return await stage.connect()
            except ServerError:
                await stage.step()
