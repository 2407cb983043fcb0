"""`rst-anywhere`: a drop in every phase of a connection's life, and a new server at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage
from rig.servers import Connection

Phase = Callable[[Stage], Awaitable[Connection]]


async def _accepted(stage: Stage) -> Connection:
    return await stage.connect(upgrade=False)


async def _half_a_request(stage: Stage) -> Connection:
    connection = await stage.connect(upgrade=False)
    connection.half_request()
    return connection


async def _upgraded(stage: Stage) -> Connection:
    return await stage.connect()


async def _greeted(stage: Stage) -> Connection:
    return await stage.hello()


async def _greeting(stage: Stage) -> Connection:
    connection = await stage.hello()
    connection.greet()
    return connection


async def _in_use(stage: Stage) -> Connection:
    """What the device sends after its hello has gone out: a drop finds nothing in its queue.

    What a drop does to queued frames is `drop-queued`'s and `recycle-fd`'s business. Here it would
    be a matter of luck, of how soon the server task is given the processor.
    """
    connection = await stage.serve()
    await stage.step()
    return connection


async def _in_traffic(stage: Stage) -> Connection:
    connection = await _in_use(stage)
    for volume in range(5):
        connection.command_volume(20 + volume)
    return connection


async def _closing(stage: Stage) -> Connection:
    connection = await stage.serve()
    connection.close_frame(1000)
    return connection


PHASES: tuple[Phase, ...] = (
    _accepted,
    _half_a_request,
    _upgraded,
    _greeted,
    _greeting,
    _in_traffic,
    _closing,
)
"""A connection's life, from TCP's accept to its last frame."""


@scenario(
    "rst-anywhere",
    title="a RST in every phase of a connection's life, then a new server at once",
    cycles=1,
    faults=("rst", "cut"),
    required=(*REQUIRED_CHECKS, "served_again"),
)
async def rst_anywhere(stage: Stage) -> None:
    """Each phase in turn: drop, connect again at once, and wait to be greeted."""
    for phase in PHASES:
        await _drop_and_return(stage, await phase(stage), "rst")
    await _drop_and_return(stage, await _in_use(stage), "cut")
    await stage.probe()
    await stage.settle()


async def _drop_and_return(stage: Stage, connection: Connection, fault: str) -> None:
    await stage.strike(fault, connection)
    await stage.greeted_anew()
    await stage.settle()
