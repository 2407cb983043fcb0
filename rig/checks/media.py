"""What the server plays is well formed: invariant 17. It judges the server, not the device."""

from __future__ import annotations

from rig.checks.connections import follow
from rig.checks.owed import verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import ConnectionClosed, Frame
from rig.protocol.names import ARTWORK_IDS, AUDIO_ID, VISUALIZER_IDS
from rig.protocol.payload import payload_of

_HEADER = 9
"""One id byte and a big-endian int64 time stamp."""
_AUDIO_IN_NOISE = 13
"""And, before audio of the noise generation, a big-endian uint32 `send_ahead`."""


def _role(binary_id: int) -> str | None:
    if binary_id == AUDIO_ID:
        return "player"
    if binary_id in ARTWORK_IDS:
        return "artwork"
    return "visualizer" if binary_id in VISUALIZER_IDS else None


def _wrong(frame: Frame, streams: set[str]) -> str | None:
    head = bytes.fromhex(frame.head or "")
    audio = bool(head) and head[0] == AUDIO_ID and frame.sealed is not None
    least = _AUDIO_IN_NOISE if audio else _HEADER
    if frame.size < least or len(head) < least:
        return f"{frame.size} bytes: what comes before the data takes {least}"
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
    title="the server's media have a known id, a time stamp and an active stream",
    source="invariant 17: Sendspin spec, binary messages. Judges the server, not the device",
)
def media_well_formed(history: Judged) -> Outcome:
    """Every binary message of a server; of sealed ones what the rig's own server recorded."""
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
            if talk.generation is None or (talk.generation == "noise") != (
                event.sealed is not None
            ):
                continue
            judged += 1
            wrong = _wrong(event, active)
            if wrong is not None:
                told = f"connection {event.conn}: a binary message of the server: {wrong}"
                broken.append((told, (entry.n,)))
    return verdict_of(
        broken, judged, "media messages, each well formed", "the server sent no media"
    )
