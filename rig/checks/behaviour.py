"""What a device's version does differently, and how a history tells which one it is.

No version number is trusted: an application's own number is not sendspin-cpp's. A behaviour counts
as present only where the device showed a sign that came with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from rig.history.events import Event, Frame, LogLine
from rig.protocol.payload import payload_of


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A behaviour that came with a version, and its signs in a history."""

    name: str
    since: str
    """The first sendspin-cpp version that has it."""
    source: str
    log_lines: tuple[tuple[str, str], ...]
    """(log tag, start of the message): lines that only such versions print."""
    device_info: tuple[str, ...]
    """Fields of client/hello's `device_info` that only such versions send."""

    def shown_by(self, event: Event) -> bool:
        """Whether `event` is a sign of this behaviour."""
        match event:
            case LogLine(component=str(tag), message=str(text)):
                return any(tag == t and text.startswith(start) for t, start in self.log_lines)
            case Frame(sender="device", type="client/init"):
                return True
            case Frame(sender="device", type="client/hello", sealed=None):
                info = payload_of(event).get("device_info")
                return isinstance(info, dict) and any(key in info for key in self.device_info)
            case _:
                return False


PROVE_THEN_ADMIT = Behaviour(
    name="prove-then-admit",
    since="v0.7.0",
    source="sendspin-cpp v0.7.0 connection_manager.cpp: a connection waits in the nursery until "
    "both hellos are through; the reapers of 5 s and 30 s came with it. In noise the specification "
    "itself asks for it (1.0.0-rc1, connection.md, Multiple servers)",
    log_lines=(
        ("sendspin.conn_mgr", "Admitting new connection into the nursery"),
        ("sendspin.conn_mgr", "Nursery "),
        ("sendspin.ws_server", "WebSocket upgrade complete on socket "),
        ("sendspin.ws_server", "Session did not complete a WebSocket upgrade"),
    ),
    device_info=("mac_address",),
)

BEHAVIOURS = (PROVE_THEN_ADMIT,)
"""Every behaviour by which a check decides whether it applies."""


_HELLO_FIELDS = ("server_id", "name", "version", "active_roles", "connection_reason")


def greets(frame: Frame) -> bool:
    """Whether a device must heed this: a server/hello that lacks none of its five fields (legacy),
    or a server/activate from inside the seal (noise)."""
    if frame.sender != "server":
        return False
    payload = payload_of(frame)
    if frame.sealed is not None:
        return frame.type == "server/activate" and isinstance(payload.get("activities"), list)
    return frame.type == "server/hello" and all(field in payload for field in _HELLO_FIELDS)


def reason_of(frame: Frame) -> str | None:
    """Why the server that `greets` is there: `playback`, `pairing` or `discovery` (nothing)."""
    payload = payload_of(frame)
    if frame.sealed is None:
        reason = payload.get("connection_reason")
        return reason if isinstance(reason, str) else None
    activities = payload.get("activities")
    ranked = activities if isinstance(activities, list) else []
    return next((each for each in ("playback", "pairing") if each in ranked), "discovery")
