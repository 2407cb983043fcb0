"""The WebSocket upgrade as bytes (RFC 6455, section 4): what a dialling server sends and expects.

A WebSocket library cannot be used for it: it refuses a device that talks before its answer, and
such bytes are just what this rig looks for.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HEAD_END = b"\r\n\r\n"
HEAD_BOUND = 16_384
"""Bytes of an HTTP head that are waited for; a longer one is an error."""

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r\n)")


def new_key() -> str:
    """A fresh `Sec-WebSocket-Key`: 16 random bytes in base64."""
    return base64.b64encode(os.urandom(16)).decode("ascii")


def accept_key(key: str) -> str:
    """The `Sec-WebSocket-Accept` that answers `key` (RFC 6455, 4.2.2)."""
    digest = hashlib.sha1(key.encode("ascii", "replace") + _MAGIC, usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode("ascii")


def upgrade_request(
    host: str, path: str, key: str, headers: Mapping[str, str] | None = None
) -> bytes:
    """The upgrade request of a client that offers no extension.

    `host` is the Host header's value (`address:port`). `headers` are added as they are; one of the
    usual names replaces the usual value, so that a wrong request can be made on purpose.
    """
    fields = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        **(headers or {}),
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def upgrade_answer(key: str) -> bytes:
    """The answer that accepts an upgrade asked for with `key`."""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    ).encode("ascii")


def status_of(head: bytes) -> int | None:
    """The status code of an HTTP answer's head; None: it is no HTTP/1 answer."""
    found = _STATUS.match(head)
    return int(found[1]) if found else None


def header(head: bytes, name: str) -> str | None:
    """The value of header `name` in an HTTP head, None when it is not there."""
    wanted = name.lower().encode("ascii")
    for line in head.split(b"\r\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == wanted:
            return value.strip().decode("latin-1")
    return None
