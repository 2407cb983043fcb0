"""A connection is opened once: invariant 3."""

from __future__ import annotations

from rig.checks.connections import OPENINGS, follow
from rig.checks.owed import verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import ConnectionClosed, Frame


@check(
    "opened_once",
    title="the device sends its opening message exactly once on a connection",
    source="invariant 3: Sendspin spec, client/hello; sendspin-cpp #60 (one hello timer each)",
)
def opened_once(history: Judged) -> Outcome:
    """No client/hello (noise: client/init) comes twice on one connection, nor one of each kind."""
    opened: dict[int, int] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history):
        event = entry.event
        if isinstance(event, ConnectionClosed):
            opened.pop(event.conn, None)
        if talk is None or not isinstance(event, Frame) or event.sender != "device":
            continue
        if event.type not in OPENINGS:
            continue
        before = opened.get(event.conn)
        if before is None:
            opened[event.conn] = entry.n
            judged += 1
        elif _second_step(talk.opening is not None and talk.opening.event, event):
            continue
        else:
            words = f"connection {event.conn}: {event.type}, and the opening message came before"
            broken.append((words, (before, entry.n)))
    return verdict_of(
        broken, judged, "connections, each opened once", "no connection was opened by the device"
    )


def _second_step(first: object, event: Frame) -> bool:
    """In the noise generation a sealed client/hello follows client/init: no second opening."""
    return isinstance(first, Frame) and first.type == "client/init" and event.type == "client/hello"
