"""`lossy-hour`: an ordinary bad radio, for an hour: every cycle is 40 s of it."""

from __future__ import annotations

import asyncio

from rig.errors import ServerError
from rig.scenarios.registry import scenario
from rig.scenarios.stage import Stage

CYCLE_S = 40.0
LOSS_PERCENT = 10.0
DELAY_MS, JITTER_MS = 40.0, 30.0


@scenario(
    "lossy-hour",
    title="an hour of lost, late and overtaken packets, with servers that come and go",
    cycles=90,
    faults=("loss", "packet-delay"),
    required=("no_crash", "opening_first", "nothing_before_upgrade"),
    needs=("air",),
    by_default=False,
)
async def lossy_hour(stage: Stage) -> None:
    """Connect, serve, command, leave; nothing is held to a time that loss may well exceed."""
    await stage.need_air()
    loop = asyncio.get_running_loop()
    end = loop.time() + CYCLE_S

    async def visit() -> None:
        await _visit(stage)

    delay = {"ms": DELAY_MS, "jitter": JITTER_MS, "for": 2 * CYCLE_S}
    await stage.strike("packet-delay", act=visit, params=delay)
    await stage.strike("loss", act=visit, params={"share": LOSS_PERCENT, "for": 2 * CYCLE_S})
    while loop.time() < end:
        await visit()
    await stage.calm()
    await stage.settle()
    await stage.probe()
    await stage.settle()


async def _visit(stage: Stage) -> None:
    """A server that comes, commands a little, and goes one way or the other."""
    try:
        connection = await stage.connect()
    except ServerError:
        return  # the dial itself got lost: part of it
    if await connection.wait_hello(10.0) is not None:
        connection.greet()
        for _ in range(10):
            connection.command_volume(stage.rng.randrange(100))
            await connection.wait_closed(stage.rng.uniform(0.02, 0.2))
    if stage.rng.random() < 0.5:
        connection.drop()
        return
    connection.close_frame(1000)
    await connection.expect_fin(2.0)
    connection.close()
