"""The WebSocket pieces a server of ESP-IDF has: header out, key, unmasking (RFC 6455).

No library on purpose: the model's server must be able to do what a library refuses.
"""

from __future__ import annotations

import base64
import hashlib

CONTINUE, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def header(opcode: int, size: int) -> bytes:
    """The header of an unmasked, final frame of `size` payload bytes."""
    first = FIN | opcode
    if size <= 125:
        return bytes((first, size))
    if size < 0xFFFF:  # sic: ESP-IDF's `httpd_ws_send_frame_async` sends 65,535 in the long form
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")


def accept_key(key: str) -> str:
    """`Sec-WebSocket-Accept` for a client's key."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()


def unmask(payload: bytes, key: bytes) -> bytes:
    """Undo the client's mask (4 bytes)."""
    size = len(payload)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
