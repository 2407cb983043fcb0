"""`baseline`: a device nobody disturbs."""

from __future__ import annotations

from rig.scenarios.registry import REQUIRED_CHECKS, STANDARD_CHECKS, scenario
from rig.scenarios.stage import Stage
from rig.servers import Connection

DWELL_S = 0.4
"""How long no question of the clock may come before a burst is taken to be over: they are 5 to
20 ms apart, and 10 s lie between two bursts."""
QUESTIONS = 10
"""How many are heard at most: two more than a burst has."""
PATIENCE_S = 3.5
"""How long an answer that is owed is waited for: a little longer than it may take (3 s)."""
LEAVE_S = 5.5
"""The same for the end of a connection after a goodbye (5 s)."""


@scenario(
    "baseline",
    title="connections that end in order, and hand-offs in order: nothing is broken on purpose",
    cycles=2,
    faults=("close",),
    checks=STANDARD_CHECKS,
    required=(*REQUIRED_CHECKS, "served_again"),
)
async def baseline(stage: Stage) -> None:
    """Greet late, talk, close in order; then hand over to a server that plays, and turn one away.

    A device that does as it should is never waited for: only answers that are owed and do not come
    take their time.
    """
    first = await stage.hello()
    await stage.step()  # what it says before it is let in would come now
    await _talk(stage, first)
    await stage.quiet(first)
    await stage.strike("close", first)
    await stage.step()
    current = await stage.serve()
    if (stage.device.sessions or 0) >= 2:
        # a server that plays takes over from one that was only found, and is taken over by none
        await stage.serve(reason="playback")
        await current.wait_closed(LEAVE_S)
        await stage.step()
        late = await stage.hello()
        late.greet()
        await late.wait_closed(LEAVE_S)
    await stage.settle()
    await stage.probe()
    await stage.settle()


async def _talk(stage: Stage, connection: Connection) -> None:
    """Greet; a ping, a volume and the clock's questions, each answered."""
    connection.greet()
    await connection.served(stage.device.greet_within)
    ping = f"rig-{connection.conn}".encode()
    connection.ping(ping)
    await connection.expect_pong(ping, PATIENCE_S)
    if "volume" in connection.commands:
        volume = 10 + stage.cycle % 80
        connection.command_volume(volume)
        await connection.expect_state(volume=volume, timeout=PATIENCE_S)
    for _ in range(QUESTIONS):
        if await connection.expect("client/time", DWELL_S) is None:
            break
