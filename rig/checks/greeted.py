"""Every held connection is greeted in time, and the device serves again after every fault."""

from __future__ import annotations

from rig.checks.connections import Conversation, follow
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, failed, inconclusive, passed
from rig.history import Event
from rig.history.events import (
    Boot,
    ConnectFailed,
    ConsoleGap,
    CrashBegan,
    CycleEnded,
    FaultSeen,
    Frame,
    Held,
    ScenarioEnded,
    Settled,
)


@check(
    "greeted_in_time",
    title="every held connection is greeted in time",
    source="sendspin-device facts, 'After a server connects'; sendspin-cpp #57, #60",
)
def greeted_in_time(history: Judged) -> Outcome:
    """Each connection that was upgraded and then only waited on got its opening message.

    One that the device ended, that a fault ended, or that a crash overtook is not judged here.
    """
    waiting: dict[int, Conversation] = {}
    greeted = overtaken = left = 0
    broken: list[tuple[str, tuple[int, ...]]] = []

    def expire(now: int) -> None:
        for conn, talk in list(waiting.items()):
            if talk.held is None or now < talk.held[1]:
                continue
            del waiting[conn]
            message = f"connection {conn} was upgraded and held {talk.held[2]:g} s, never greeted"
            broken.append((message, tuple(n for n in (talk.upgraded, talk.held[0]) if n)))

    told = (CrashBegan, Boot, ConsoleGap, Settled, CycleEnded, ScenarioEnded)
    for entry, talk in follow(history, *told):
        expire(entry.event.t)
        if isinstance(entry.event, CrashBegan | Boot) or _gone(entry.event):
            overtaken += len(waiting)
            waiting.clear()
        if talk is None:
            continue
        if isinstance(entry.event, Held) and talk.upgraded and not _over(talk):
            if talk.opening is None:
                waiting[talk.conn] = talk
            else:
                greeted += 1
        elif talk.conn in waiting and talk.opening is not None:
            del waiting[talk.conn]
            greeted += 1
        elif talk.conn in waiting and _over(talk):
            del waiting[talk.conn]
            overtaken += 1
            left += talk.device_ended is not None and talk.server_ended is None
    if broken:
        message, evidence = broken[0]
        return failed(message, *evidence, findings=len(broken))
    if not greeted:
        return inconclusive(
            "no held connection lived long enough to be greeted"
            if overtaken
            else "no connection was held"
        )
    if left > greeted:  # one ended in error is tried again; a device that ends most greets nobody
        return inconclusive(
            f"the device ended {left} held connections before it greeted them, and greeted "
            f"{greeted}"
        )
    return passed(f"{greeted} held connections, each greeted")


def _gone(event: Event) -> bool:
    return isinstance(event, ConsoleGap) and event.gone


def _over(talk: Conversation) -> bool:
    return bool(talk.device_ended or talk.server_ended or talk.closed_t)


@check(
    "served_again",
    title="the device serves again after every fault",
    source="the mission; esp-http-server facts",
)
def served_again(history: Judged) -> Outcome:
    """After each fault that was seen, some later connection of the stretch is greeted."""
    owed: list[int] = []
    attempts = 0
    attempted: int | None = None
    served = faults = 0
    vanished: int | None = None
    for entry, talk in follow(history, FaultSeen, ConnectFailed, ConsoleGap):
        match entry.event:
            case ConsoleGap() as gap:
                vanished = entry.n if gap.gone else None
            case FaultSeen():
                owed.append(entry.n)
                faults += 1
                attempts = 0
            case ConnectFailed() | Held():
                attempts += 1
                attempted = entry.n
            case Frame(sender="device", type="client/hello" | "client/init") if (
                talk is not None and talk.opening is entry
            ):
                # only connections opened after a fault speak for the time after it
                served += sum(1 for n in owed if n < talk.opened_n)
                owed = [n for n in owed if n > talk.opened_n]
            case _:
                pass
    if owed and vanished is not None:
        return inconclusive("the board's serial port went away, and the board with it", vanished)
    if owed and attempts and attempted is not None:
        return failed(
            f"after {len(owed)} faults no later connection was greeted",
            owed[0],
            attempted,
            findings=len(owed),
        )
    if owed:
        return inconclusive("no connection was tried after the last fault", owed[-1])
    if not faults:
        return inconclusive("no fault was seen")
    return passed(f"served again after each of {served} faults")
