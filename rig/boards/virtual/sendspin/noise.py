"""The Noise generation's handshake and seals, the device's side (`noise_handshake.cpp`,
`noise_transport.cpp` of v0.9.x; Sendspin spec 1.0.0-rc1, connection.md).

The pattern is the library `noiseprotocol`'s. The model has never been paired: whatever credential a
server refers to, it answers under the published Sentinel PSK.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import NoiseInvalidMessage, NoiseValueError

from rig.boards.virtual.sendspin import messages

SUITE = "25519_ChaChaPoly_SHA256"
SENTINEL = hashlib.sha256(b"sendspin-sentinel-psk-v1").digest()
FRAGMENT, LAST, FIRST = 1, 1, 2
HEAP = 160 * 1024
UNREADABLE = (InvalidTag, NoiseInvalidMessage, NoiseValueError, ValueError)


class Abort(Exception):
    """A silent failure: the connection is closed without a word. `args`: the log's tag and text."""


def b64url(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: object) -> bytes:
    try:
        return base64.urlsafe_b64decode(str(text).encode() + b"==")
    except ValueError:
        return b""


class Responder:
    """One connection's channel."""

    def __init__(self, mac: bytes) -> None:
        """The model's static key comes from its MAC address, so that it survives an erased flash
        (a device draws one at random and keeps it)."""
        self._private = hashlib.sha256(b"model of a device " + mac).digest()
        public = X25519PrivateKey.from_private_bytes(self._private).public_key().public_bytes_raw()
        self.init = messages.message(
            "client/init", client_id=b64url(public), version=1, suite=SUITE
        )
        self.server_id = ""
        self.established = False
        self._prologue = b""
        self._noise: Any = None
        self._parts: bytearray | None = None

    def handshake(self, text: bytes) -> bytes | None:
        """Take a clear message of the server: what is to be answered, if anything."""
        kind, payload = messages.parse(text) or ("", {})
        if not self._prologue:
            server_id = payload.get("server_id")
            if kind != "server/init" or payload.get("version") != 1:
                raise Abort("noise_handshake", "handle_server_init: unexpected type or version")
            if len(_decoded(server_id)) != 32:
                raise Abort("noise_handshake", "handle_server_init: invalid server_id length")
            self.server_id = str(server_id)
            self._prologue = self.init + text
            return None
        if kind != "noise/handshake":
            raise Abort("noise_handshake", "handle_msg1: unexpected type")
        noise = NoiseConnection.from_name(f"Noise_KKpsk2_{SUITE}".encode())
        noise.set_as_responder()
        noise.set_keypair_from_private_bytes(Keypair.STATIC, self._private)
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, _decoded(self.server_id))
        noise.set_prologue(self._prologue)
        noise.set_psks(psks=[SENTINEL])
        noise.start_handshake()
        try:
            inner = json.loads(bytes(noise.read_message(_decoded(payload.get("data")))))
            known = inner["psk_category"] in ("lt", "pr", "sn") and isinstance(inner["psk_id"], str)
        except (*UNREADABLE, KeyError, TypeError):
            known = False
        if not known:
            raise Abort("noise_handshake", "handle_msg1: read_msg1 failed")
        answer = bytes(noise.write_message(b"{}"))
        self._noise = noise
        return messages.message("noise/handshake", data=b64url(answer))

    def seal(self, text: bytes) -> bytes:
        """A JSON message as a binary frame's payload."""
        return bytes(self._noise.encrypt(b"\0" + text))

    def open(self, sealed: bytes) -> bytes | None:
        """The message, its id first, that a binary frame completes; None: it was a fragment."""
        try:
            plain = bytes(self._noise.decrypt(sealed))
        except UNREADABLE:
            raise Abort("connection", "Noise decrypt failed, closing") from None
        if plain[:1] != bytes((FRAGMENT,)):
            if self._parts is not None or not plain:
                raise Abort("noise_transport", "malformed sequence")
            return plain
        first = len(plain) > 2 and bool(plain[1] & FIRST)
        if len(plain) < 2 or plain[1] > LAST | FIRST or first == (self._parts is not None):
            raise Abort("noise_transport", "malformed sequence")
        self._parts = (bytearray() if first else self._parts) or bytearray()
        self._parts += plain[2:]
        if len(self._parts) > HEAP:
            raise Abort("noise_transport", "fragmented message exceeds the heap")
        if not plain[1] & LAST:
            return None
        whole, self._parts = bytes(self._parts), None
        return whole
