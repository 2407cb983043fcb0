"""The client's messages, keys in the library's order, and what it demands of the server's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rig.boards.virtual.sendspin.versions import Version

JsonObject = dict[str, Any]

GOODBYE_ANOTHER_SERVER = "another_server"
GOODBYE_CONCURRENT = "concurrent_attempt"
BUFFER_CAPACITY = 100_000
"""Bytes of audio that wait to be played."""
COMMANDS = ("play", "pause", "stop", "next", "previous", "volume", "mute", "shuffle", "unshuffle")
"""Controller commands that the console's `command` takes (some of them)."""


def message(kind: str, **payload: Any) -> bytes:
    """A message as it goes out."""
    return json.dumps({"type": kind, "payload": payload}, separators=(",", ":")).encode()


def client_hello(mac: bytes, software_version: str, version: Version) -> bytes:
    """`client/hello`; a legacy client's id is its MAC address, so it survives reboots."""
    address = mac.hex(":")
    device = {
        "product_name": "ESP32-C3 model",
        "manufacturer": "sendspin-rig",
        "software_version": software_version,
    }
    if version.nursery:
        device["mac_address"] = address
    formats = [
        {"codec": codec, "channels": 2, "sample_rate": rate, "bit_depth": 16}
        for codec, rate in (("flac", 48000), ("flac", 44100), ("opus", 48000), ("pcm", 48000))
    ]
    payload: JsonObject = {
        "client_id": address,
        "name": f"Virtual ESP32-C3 {mac.hex()[-6:]}",
        "device_info": device,
        "version": 1,
        "supported_roles": ["player@v1", "controller@v1", "metadata@v1"],
        "player@v1_support": {
            "supported_formats": formats,
            "buffer_capacity": BUFFER_CAPACITY,
            "supported_commands": ["volume", "mute"],
        },
    }
    if version.noise:
        del payload["client_id"], payload["version"]
        del payload["player@v1_support"]["supported_commands"]
        payload["supported_pair_methods"] = {"pairing_psk": {}}
        payload["unpaired_access"] = {"enabled": True}
    return message("client/hello", **payload)


def client_state(volume: int, muted: bool, available: bool | None = None) -> bytes:
    """`client/state`, always complete; `available` in the noise generation."""
    player: JsonObject = {"volume": volume, "muted": muted}
    if available is None:
        player["static_delay_ms"] = 0
        return message("client/state", state="synchronized", player=player)
    player |= {
        "output_delay_ms": 0,
        "required_lead_time_ms": 200,
        "min_buffer_ms": 200,
        "supported_commands": ["volume", "mute"],
    }
    return message("client/state", available=available, player=player)


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What the client keeps of a `server/hello`. `reason` is `playback` or `discovery`.

    In the noise generation it is what `server/activate` comes to: `playback` if that is among its
    activities.
    """

    server_id: str
    name: str
    reason: str


def parse(text: bytes) -> tuple[Any, JsonObject] | None:
    """A message's type and its payload, empty when there is none; None: it is no message."""
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(root, dict):
        return None
    payload = root.get("payload")
    return root.get("type"), payload if isinstance(payload, dict) else {}


def server_hello(payload: JsonObject) -> ServerHello | str:
    """A complete `server/hello`, else the error that the library logs."""
    wanted = ("server_id", "name", "version", "active_roles")
    reason = payload.get("connection_reason")
    if any(payload.get(key) is None for key in wanted) or not isinstance(reason, str):
        return "Invalid server/hello message"
    if reason not in ("playback", "discovery"):
        return f"Invalid connection_reason in server/hello message: {reason[:64]}"
    return ServerHello(str(payload["server_id"])[:128], str(payload["name"])[:128], reason)


def server_time(payload: JsonObject, received: int) -> tuple[int, int] | None:
    """The measurement's `max_error` and the server's clock minus esp_timer, microseconds.

    None: the message is incomplete.
    """
    keys = ("client_transmitted", "server_received", "server_transmitted")
    times = [value for value in map(payload.get, keys) if isinstance(value, int)]
    if len(times) != len(keys):
        return None
    transmitted, server_received, server_transmitted = times
    max_error = ((received - transmitted) - (server_transmitted - server_received)) // 2
    return max_error, (server_received + server_transmitted - transmitted - received) // 2


def fnv1(text: str) -> int:
    """FNV-1, 32 bits: how the last played server is remembered."""
    result = 2166136261
    for byte in text.encode():
        result = result * 16777619 & 0xFFFF_FFFF ^ byte
    return result
