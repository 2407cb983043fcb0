"""What the server plays is well formed: invariant 17. It judges the server, not the device."""

from __future__ import annotations

from rig.checks.behaviour import payload_of
from rig.checks.connections import follow
from rig.checks.owed import verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import ConnectionClosed, Frame
from rig.protocol.names import ARTWORK_IDS, AUDIO_ID, VISUALIZER_IDS

_HEADER = 9
"""One id byte and a big-endian int64 time stamp."""


def _role(binary_id: int) -> str | None:
    if binary_id == AUDIO_ID:
        return "player"
    if binary_id in ARTWORK_IDS:
        return "artwork"
    return "visualizer" if binary_id in VISUALIZER_IDS else None


def _wrong(frame: Frame, streams: set[str]) -> str | None:
    head = bytes.fromhex(frame.head or "")
    if frame.size < _HEADER or len(head) < _HEADER:
        return f"{frame.size} bytes: an id and a time stamp take {_HEADER}"
    role = _role(head[0])
    if role is None:
        return f"the id {head[0]} is no role's"
    if int.from_bytes(head[1:_HEADER], "big", signed=True) < 0:
        return "its time stamp is negative: is it big-endian?"
    if role not in streams:
        return f"no stream of the {role} is active"
    return None


@check(
    "media_well_formed",
    title="the server's media have a known id, a time stamp and an active stream (legacy)",
    source="invariant 17: Sendspin spec, binary messages. Judges the server: only on request",
)
def media_well_formed(history: Judged) -> Outcome:
    """Every binary message of a server to a legacy device; sealed frames cannot be looked into."""
    streams: dict[int, set[str]] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history):
        event = entry.event
        if isinstance(event, ConnectionClosed):
            streams.pop(event.conn, None)
        if talk is None or not isinstance(event, Frame) or event.sender != "server":
            continue
        active = streams.setdefault(event.conn, set())
        if event.type == "stream/start":
            active.update(payload_of(event))
        elif event.type == "stream/end":
            roles = payload_of(event).get("roles")
            active.difference_update(
                {str(role) for role in roles} if isinstance(roles, list) else set(active)
            )
        elif event.opcode == "binary":
            opening = talk.opening.event if talk.opening is not None else None
            if not isinstance(opening, Frame) or opening.type != "client/hello":
                continue
            judged += 1
            wrong = _wrong(event, active)
            if wrong is not None:
                told = f"connection {event.conn}: a binary message of the server: {wrong}"
                broken.append((told, (entry.n,)))
    return verdict_of(
        broken, judged, "media messages, each well formed", "the server sent no media"
    )
