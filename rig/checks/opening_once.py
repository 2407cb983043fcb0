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
    """No client/hello (noise: client/init) comes twice on one connection, nor one of each kind.

    In noise the same holds for the client/hello inside the seal.
    """
    opened: dict[int, int] = {}
    hellos: dict[int, int] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history):
        event = entry.event
        if isinstance(event, ConnectionClosed):
            opened.pop(event.conn, None)
            hellos.pop(event.conn, None)
        if talk is None or not isinstance(event, Frame) or event.sender != "device":
            continue
        if event.type not in OPENINGS:
            continue
        inside = event.type == "client/hello" and talk.generation == "noise"
        seen = hellos if inside and talk.transport is not None else opened
        before = seen.get(event.conn)
        if before is None:
            seen[event.conn] = entry.n
            judged += seen is opened
        else:
            words = f"connection {event.conn}: {event.type} a second time, or after another opening"
            broken.append((words, (before, entry.n)))
    return verdict_of(
        broken, judged, "connections, each opened once", "no connection was opened by the device"
    )
