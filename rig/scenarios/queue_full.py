"""`queue-full`: a hello falls due while the server's work mailbox is full."""

from __future__ import annotations

from rig.history import now_ns
from rig.history.events import Event, Frame
from rig.protocol import generation_of
from rig.scenarios.device import HELLO_AT_ONCE_S
from rig.scenarios.registry import REQUIRED_CHECKS, scenario
from rig.scenarios.stage import DIAL_S, Lacking, Stage
from rig.servers import Connection

TRIES = 5
"""How often a cycle begins anew when the mailbox was full only after the hello had gone."""
QUIET_S = 0.5
"""How long no state may come before all are taken to have arrived."""


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
    for _ in range(TRIES):
        late = await _fall_due(stage)
        if late is None:
            break
    if late is not None:
        raise Lacking(
            f"the bench's talk takes {late * 1e3:.0f} ms, {TRIES} times: the hello, about "
            f"{stage.device.hello_delay * 1e3:.0f} ms after its upgrade, was queued before the "
            "mailbox was full; text for the console, or a quicker command, is needed"
        )
    await stage.probe()
    await stage.settle()


async def _fall_due(stage: Stage) -> float | None:
    """One try. None when the mailbox was full in time, else how late it was, in s."""
    a = await stage.serve()
    delayed = stage.device.hello_delay >= HELLO_AT_ONCE_S
    upgraded = full = 0
    b: Connection

    async def hello_falls_due() -> None:
        nonlocal full
        full = now_ns()
        await stage.step(1 + 2 * stage.device.hello_delay / stage.device.step)

    with stage.history.watch(_tells) as told:
        if delayed:
            b = await stage.connect()
            upgraded = now_ns()
            await stage.strike("stall", a)
        else:
            await stage.strike("stall", a)
            b = await stage.connect(upgrade=False)
            b.ask_upgrade()
        await stage.strike("queue-full", a, act=hello_falls_due, params={"within": QUIET_S})
        first = await told.next(
            Frame, timeout=0.0, where=lambda frame: frame.conn in (a.conn, b.conn)
        )
    # The mailbox is a queue: a hello that comes out of it before the states was put into it before.
    late = delayed and first is not None and first[1].conn == b.conn
    if not late and (delayed or await b.wait_upgrade(DIAL_S) == 101):
        await stage.hold(b)
    await stage.settle()
    return (full - upgraded) / 1e9 if late else None


def _tells(event: Event) -> bool:
    """Whether it is a state, or an opening message."""
    if not isinstance(event, Frame) or event.sender != "device":
        return False
    return event.type == "client/state" or generation_of(event.type) is not None
