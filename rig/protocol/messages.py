"""Messages a Sendspin server sends, as JSON bytes, and binary media frames.

Fields and units as in the Sendspin specification before the noise generation, and as in 1.0.0-rc1
(`server_activate`, `media` with `send_ahead_us`); clocks are integers in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from rig.protocol.names import AUDIO_ID

_encoder = msgspec.json.Encoder()

ROLES = ("player@v1", "controller@v1", "metadata@v1")
"""What the scripted server activates when not told otherwise."""


def encode(kind: str, payload: Mapping[str, Any]) -> bytes:
    """`{"type": kind, "payload": payload}` as JSON."""
    return _encoder.encode({"type": kind, "payload": payload})


def server_hello(
    server_id: str,
    name: str,
    *,
    connection_reason: str = "discovery",
    active_roles: Sequence[str] = ROLES,
    version: int = 1,
) -> dict[str, Any]:
    """Payload of server/hello. A device ignores it when one of these five is missing."""
    return {
        "server_id": server_id,
        "name": name,
        "version": version,
        "active_roles": list(active_roles),
        "connection_reason": connection_reason,
    }


def server_activate(
    activities: Sequence[str] = (), active_roles: Sequence[str] = ()
) -> dict[str, Any]:
    """Payload of server/activate (noise): `playback`, `pairing` or nothing, and the roles."""
    return {"activities": list(activities), "active_roles": list(active_roles)}


def server_time(
    client_transmitted: int, server_received: int, server_transmitted: int
) -> dict[str, Any]:
    """Payload of server/time: the answer to one client/time; all in us, own clock each."""
    return {
        "client_transmitted": client_transmitted,
        "server_received": server_received,
        "server_transmitted": server_transmitted,
    }


def server_state(*, metadata: Mapping[str, Any] | None = None, **roles: Any) -> dict[str, Any]:
    """Payload of server/state: `metadata` and other role objects by name."""
    return ({"metadata": dict(metadata)} if metadata is not None else {}) | roles


def volume_command(volume: int) -> dict[str, Any]:
    """Payload of a server/command that sets the player's volume, 0 to 100."""
    return {"player": {"command": "volume", "volume": volume}}


def mute_command(mute: bool) -> dict[str, Any]:
    """Payload of a server/command that mutes or unmutes the player."""
    return {"player": {"command": "mute", "mute": mute}}


def stream_start(
    *,
    codec: Literal["pcm", "flac", "opus"] = "pcm",
    sample_rate: int = 48_000,
    channels: int = 2,
    bit_depth: int = 16,
    codec_header: str | None = None,
) -> dict[str, Any]:
    """Payload of stream/start for the player; `codec_header` is base64 (FLAC, Opus)."""
    player: dict[str, Any] = {
        "codec": codec,
        "sample_rate": sample_rate,
        "channels": channels,
        "bit_depth": bit_depth,
    }
    if codec_header is not None:
        player["codec_header"] = codec_header
    return {"player": player}


def stream_roles(roles: Sequence[str] = ("player",)) -> dict[str, Any]:
    """Payload of stream/clear and stream/end."""
    return {"roles": list(roles)}


def group_update(
    group_id: str, group_name: str, playback_state: Literal["playing", "paused", "stopped"]
) -> dict[str, Any]:
    """Payload of group/update."""
    return {"group_id": group_id, "group_name": group_name, "playback_state": playback_state}


def media(
    timestamp_us: int, data: bytes, *, binary_id: int = AUDIO_ID, send_ahead_us: int | None = None
) -> bytes:
    """A binary message: one id byte, a big-endian int64 timestamp in us, the data.

    Audio of the noise generation has a big-endian uint32 `send_ahead_us` before the data.
    """
    ahead = b"" if send_ahead_us is None else send_ahead_us.to_bytes(4, "big")
    return bytes((binary_id,)) + timestamp_us.to_bytes(8, "big", signed=True) + ahead + data
