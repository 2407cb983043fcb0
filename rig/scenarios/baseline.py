"""`baseline`: a device nobody disturbs."""

from __future__ import annotations

from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import Stage


@scenario(
    "baseline",
    title="connections that end in order, and a hand-off in order: nothing is broken on purpose",
    cycles=3,
    faults=("close",),
    required=(*REQUIRED_CHECKS, "served_again"),
)
async def baseline(stage: Stage) -> None:
    """Serve, talk a little, close in order; then hand over from one server to another."""
    first = await stage.serve()
    first.ping(f"rig-{first.conn}".encode())
    await first.expect_frame("pong", 1.0)
    first.command_volume(10 + stage.cycle % 80)
    await first.expect("client/state", 1.0)
    await stage.quiet(first)
    await stage.strike("close", first)
    await stage.step()
    current = await stage.serve()
    if (stage.device.sessions or 0) >= 2:
        # a server that plays takes over from one that was only found
        await stage.serve(reason="playback")
        await current.wait_closed(stage.device.greet_within)
    await stage.settle()
    await stage.probe()
    await stage.settle()
