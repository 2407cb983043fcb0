"""`queue-full`: a hello falls due while the server's work mailbox is full."""

from __future__ import annotations

from rig.scenarios.device import HELLO_AT_ONCE_S
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import DIAL_S, Lacking, Stage
from rig.servers import Connection


@scenario(
    "queue-full",
    title="a hello falls due while the work mailbox is full (never greeted before v0.7.0)",
    cycles=2,
    faults=("stall", "queue-full"),
    required=(*REQUIRED_CHECKS, "served_again"),
    needs=("talk",),
)
async def queue_full(stage: Stage) -> None:
    """A is in use. B is upgraded; before its hello is due the task stalls and the mailbox fills.

    A device that greets at once gets B's upgrade request into the stall instead.
    """
    stage.need_talk()
    if (stage.device.sessions or 2) < 2:
        raise Lacking("the device serves one connection at a time: two are needed")
    a = await stage.serve()
    delayed = stage.device.hello_delay >= HELLO_AT_ONCE_S
    b: Connection
    if delayed:
        b = await stage.connect()
        await stage.strike("stall", a)
    else:
        await stage.strike("stall", a)
        b = await stage.connect(upgrade=False)
        b.ask_upgrade()

    async def hello_falls_due() -> None:
        await stage.step(1 + 2 * stage.device.hello_delay / stage.device.step)

    await stage.strike("queue-full", a, act=hello_falls_due)
    if delayed or await b.wait_upgrade(DIAL_S) == 101:
        await stage.hold(b)
    await stage.settle()
    await stage.probe()
    await stage.settle()
