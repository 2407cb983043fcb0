"""`silence`: packets vanish one way or both, for less and for more than the device's time-outs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rig.scenarios.recipe import recycled_by_reap
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import SETTLE_S, Stage
from rig.servers import Connection

SHORT_S = 1.0
LONG_S = SETTLE_S
"""Longer than any `recv` or `send` of ESP-IDF's HTTP server waits (5 s)."""
REAPS = 2
_WAYS = ("silence-to-device", "silence-to-server", "silence-both-ways")


@scenario(
    "silence",
    title="packets vanish one way and both ways, for less and for more than every time-out",
    cycles=1,
    faults=(*_WAYS, "stall", "recycle"),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("air",),
    by_default=False,
    own_messages=True,
)
async def silence(stage: Stage) -> None:
    """Each way, short and long, in the middle of traffic; then a new server.

    Last in the middle of queued messages: the device's own time-out ends the connection that it
    hears no more of, and a waiting server gets its socket number.
    """
    await stage.need_air()
    for way in _WAYS:
        for seconds in (SHORT_S, LONG_S):
            connection = await stage.serve()
            await stage.strike(way, connection, act=_talking(connection))
            await connection.wait_closed(seconds)
            await stage.calm()
            connection.drop()  # a RST is not held back by the retransmissions that it follows
            await stage.settle()
            await stage.probe()
    await stage.settle()
    for _ in range(REAPS):
        await recycled_by_reap(stage, "silence-both-ways")
    await stage.probe()
    await stage.settle()


def _talking(connection: Connection) -> Callable[[], Awaitable[None]]:
    """Something for the silence to swallow, both ways: a command, and the state that answers it."""

    async def act() -> None:
        connection.command_volume(30)
        connection.ping(b"silence")

    return act
