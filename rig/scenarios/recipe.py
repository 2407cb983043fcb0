"""What the aimed scenarios have in common (esp-http-server facts, 'The aimed recipe')."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rig.scenarios.stage import DIAL_S, Lacking, Stage
from rig.servers import Connection

REAP_S = 8.0
"""Longer than a device waits for the rest of a frame (5 s), and for its loop to turn."""

Act = Callable[[], Awaitable[None]]


async def stalled_pair(stage: Stage) -> tuple[Connection, Connection]:
    """Two greeted connections: the server task is stalled on A, whose messages pile up, then on B.

    A's `server/hello` and the stall go out together, so that what the main loop queues in answer
    finds the task stalled.
    """
    if (stage.device.sessions or 2) < 2:
        raise Lacking("the device serves one connection at a time: two are needed")
    a = await stage.hello()
    b = await stage.hello()
    await _stall_behind_greeting(stage, a)
    await stage.step()
    await stage.strike("stall", b)
    return a, b


async def stalled(stage: Stage) -> Connection:
    """One greeted connection on which the server task is stalled while its messages pile up."""
    a = await stage.hello()
    await _stall_behind_greeting(stage, a)
    await stage.step()
    return a


async def _stall_behind_greeting(stage: Stage, a: Connection) -> None:
    """Greet A, command it once, stall it, in one piece: no message gets out in between.

    The state in answer to the hello may still be sent in the pass before the task stalls on B. So
    there has to be a second message: the state that shows the command, or the first client/time.
    """
    a.line.cork()
    a.greet()
    a.command_volume(stage.rng.randrange(5, 96))
    await stage.strike("stall", a)


async def recycled_in_full(stage: Stage, fault: str, *, meanwhile: Act | None = None) -> None:
    """The full recipe: two stalls, both connections are ended by `fault`, a third one waits.

    `meanwhile` takes place while both are stalled and before the third one comes: well under the
    5 s that a stall holds.
    """
    a, b = await stalled_pair(stage)
    await stage.talk(3)
    if meanwhile is not None:
        await meanwhile()
    c = await _waiting(stage)

    async def drop() -> None:
        await stage.strike(fault, a)
        await stage.step()
        await stage.strike(fault, b)

    await stage.strike("recycle", c, act=drop)
    await _hold(stage, c)


async def recycled_by_swap(stage: Stage, fault: str, *, meanwhile: Act | None = None) -> None:
    """One stall: the connection is ended by `fault`, another one waits. `meanwhile`: as above."""
    a = await stalled(stage)
    if meanwhile is not None:
        await stage.talk(3)
        await meanwhile()
    c = await _waiting(stage)

    async def drop() -> None:
        await stage.strike(fault, a)

    await stage.strike("recycle", c, act=drop)
    await _hold(stage, c)


async def recycled_by_reap(stage: Stage, fault: str) -> None:
    """One stall, and `fault` lets the device hear no more of it: its own time-out ends it.

    The device waits 5 s for the rest of the frame (`recv_wait_timeout`); another connection, which
    `fault` is not aimed at, waits longer.
    """
    a = await stalled(stage)
    await stage.talk(3)
    c = await _waiting(stage)

    async def reap() -> None:
        await stage.strike(fault, a, act=_said(a), params={"within": REAP_S})

    await stage.strike("recycle", c, act=reap, params={"within": REAP_S})
    await stage.calm()
    await _hold(stage, c)


def _said(a: Connection) -> Act:
    """Something that the fault keeps from the device: the rest of no frame that it waits for."""

    async def say() -> None:
        if not a.closed:
            a.ping(b"unheard")

    return say


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


async def succeeded(stage: Stage, end: Callable[[], Awaitable[object]]) -> None:
    """A connection ends on the device's side, and a new server's takes its socket number: proven.

    `end` ends it, and may make the new one itself (the server's newest then).
    """

    async def act() -> None:
        newest = stage.server.connections[-1:]
        await end()
        if stage.server.connections[-1:] == newest:
            await stage.connect(upgrade=False)
        again = stage.server.connections[-1]
        if not again.closed and await again.upgrade(DIAL_S) == 101:
            await stage.hold(again)

    await stage.strike("recycle", act=act)
