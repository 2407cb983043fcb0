"""What the aimed scenarios have in common (esp-http-server facts, 'The aimed recipe')."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rig.scenarios.stage import DIAL_S, Lacking, Stage
from rig.servers import Connection


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


async def recycled_in_full(stage: Stage, fault: str) -> None:
    """The full recipe: two stalls, both connections are ended by `fault`, a third one waits."""
    a, b = await stalled_pair(stage)
    await stage.talk(3)
    c = await _waiting(stage)

    async def drop() -> None:
        await stage.strike(fault, a)
        await stage.step()
        await stage.strike(fault, b)

    await stage.strike("recycle", c, act=drop)
    await _hold(stage, c)


async def recycled_by_swap(stage: Stage, fault: str) -> None:
    """One stall: the connection is ended by `fault`, another one waits."""
    a = await stalled(stage)
    c = await _waiting(stage)

    async def drop() -> None:
        await stage.strike(fault, a)

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
