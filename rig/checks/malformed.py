"""What a device sends is WebSocket, and holds messages of the protocol."""

from __future__ import annotations

from rig.checks.connections import follow, words
from rig.checks.owed import verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import Frame, WireError
from rig.protocol.names import DEVICE_MESSAGES, generation_of

_CUT_OFF = "ended inside"
"""A frame that an end of the connection cut off is no malformed frame."""


@check(
    "speaks_websocket",
    title="what the device sends is WebSocket: whole frames, UTF-8, codes that may be sent",
    source="RFC 6455 sections 4.2.2, 5.2, 5.4, 5.6 and 7.4; the tap names what is wrong",
)
def speaks_websocket(history: Judged) -> Outcome:
    """Every complaint of the tap's parser about the device's side."""
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, _ in follow(history, WireError):
        event = entry.event
        if isinstance(event, WireError) and event.sender == "device":
            if not event.text.startswith(_CUT_OFF):
                broken.append((f"connection {event.conn}: {event.text}", (entry.n,)))
        elif isinstance(event, Frame) and event.sender == "device":
            judged += 1
    return verdict_of(broken, judged, "device frames, all sound", "the device sent no frame")


@check(
    "messages_known",
    title="the device's messages are JSON objects with a type that it may send and a payload",
    source="Sendspin spec, Communication and the list of messages, by generation",
)
def messages_known(history: Judged) -> Outcome:
    """Only messages that crossed whole and in the clear; a payload may be missing."""
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history):
        event = entry.event
        if talk is None or not isinstance(event, Frame) or event.sender != "device":
            continue
        if event.opcode != "text" or not event.fin or len((event.text or "").encode()) < event.size:
            continue
        judged += 1
        opening = talk.opening.event if talk.opening is not None else None
        opened = opening.type if isinstance(opening, Frame) else event.type
        wrong = _wrong(event, generation_of(opened) or "legacy")
        if wrong is not None:
            broken.append((f"connection {event.conn}: {words(entry)}: {wrong}", (entry.n,)))
    return verdict_of(broken, judged, "messages, all known", "no message crossed in the clear")


def _wrong(frame: Frame, generation: str) -> str | None:
    if frame.message is None:
        return "no JSON object"
    kind = frame.message.get("type")
    if not isinstance(kind, str):
        return f"its type is {kind!r:.40}, no string"
    payload = frame.message.get("payload")
    if payload is not None and not isinstance(payload, dict):
        return f"its payload is {payload!r:.40}, no object"
    known = DEVICE_MESSAGES["noise" if generation == "noise" else "legacy"]
    return None if kind in known else f"no device of the {generation} generation sends it"
