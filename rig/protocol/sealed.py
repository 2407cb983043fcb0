"""The Noise generation's channel, from the server's side: sans-I/O, one object a connection.

KKpsk2 with the server as the initiator and the published Sentinel PSK, which is what an unpaired
server uses (Sendspin spec 1.0.0-rc1, connection.md, Encryption). The pattern itself is
`noiseprotocol`'s; keys live in this process's memory and are written nowhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from rig.protocol import messages

SUITES: Final = ("25519_ChaChaPoly_SHA256", "25519_AESGCM_SHA256")
"""Both must be supported by a server; the device picks one."""
VERSION: Final = 1
SENTINEL: Final = hashlib.sha256(b"sendspin-sentinel-psk-v1").digest()
"""The published PSK that authenticates nothing."""
PLAINTEXT_BOUND: Final = 65_535 - 16
"""Bytes of plaintext in one Noise transport message."""
MESSAGE_BOUND: Final = 1 << 20
"""Bytes of a fragmented message that are put together; a longer one is an error."""

JSON_ID: Final = 0
FRAGMENT_ID: Final = 1
_LAST, _FIRST, _RESERVED = 0x01, 0x02, 0xFC

_secret = os.urandom(32)
"""Makes a server's key from its name, so that the same name is the same server, in this process."""

Reason = str
"""What server/error says: `malformed`, `unsupported_version`, `unsupported_suite`."""


class SealError(Exception):
    """What came is no part of this channel. `reason`: what server/error would say of it."""

    def __init__(self, text: str, reason: Reason | None = None) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Opened:
    """A whole message from inside the seal: its id (0: JSON) and what follows that byte."""

    id: int
    data: bytes


def b64url(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: object, size: int | None = None) -> bytes | None:
    """The bytes of canonical base64url without padding, `size` of them; None: it is not that."""
    if not isinstance(text, str):
        return None
    try:
        data = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return data if b64url(data) == text and size in (None, len(data)) else None


def init_wrong(payload: object) -> tuple[str, Reason] | None:
    """What is wrong with a client/init's payload, and server/error's reason (in the spec's order:
    version, suite, the rest)."""
    if not isinstance(payload, dict):
        return "client/init has no payload", "malformed"
    version, suite = payload.get("version"), payload.get("suite")
    if type(version) is not int:
        return f"client/init's version is {version!r:.40}", "malformed"
    if version != VERSION:
        return f"client/init's version is {version}", "unsupported_version"
    if not isinstance(suite, str):
        return f"client/init's suite is {suite!r:.40}", "malformed"
    if suite not in SUITES:
        return f"client/init's suite is {suite!r:.60}", "unsupported_suite"
    if unb64url(payload.get("client_id"), 32) is None:
        return f"client/init's client_id {payload.get('client_id')!r:.60} is no key", "malformed"
    return None


@cache
def _unsealable() -> tuple[type[Exception], ...]:
    """What is raised for bytes that do not open."""
    from cryptography.exceptions import InvalidTag
    from noise import exceptions

    return (
        InvalidTag,
        exceptions.NoiseHandshakeError,
        exceptions.NoiseInvalidMessage,
        exceptions.NoiseValueError,
        ValueError,
    )


class ServerChannel:
    """One connection's channel: `challenge`, `accept`, then `seal` and `open`."""

    def __init__(self, name: str) -> None:
        """`name` decides the static key, and so the server_id, as long as this process lives."""
        self._private = hashlib.sha256(_secret + name.encode()).digest()
        public = X25519PrivateKey.from_private_bytes(self._private).public_key()
        self.server_id = b64url(public.public_bytes_raw())
        """The public key: what the device knows this server by."""
        self.ready = False
        """Whether the handshake is done: from here on all is sealed."""
        self._noise: Any = None
        self._parts: bytearray | None = None
        self._parts_id = JSON_ID

    def challenge(self, client_init: bytes) -> tuple[bytes, bytes]:
        """server/init and noise/handshake message 1, for the exact bytes of the client/init.

        Raises `SealError` for one that cannot be answered.
        """
        try:
            message = msgspec.json.decode(client_init)
        except msgspec.DecodeError as error:
            raise SealError(f"client/init is no JSON: {error}", "malformed") from error
        payload = message.get("payload") if isinstance(message, dict) else None
        if (wrong := init_wrong(payload)) is not None:
            raise SealError(*wrong)
        assert isinstance(payload, dict)
        init = messages.encode("server/init", {"server_id": self.server_id, "version": VERSION})
        # a tenth of a second, which a run on a legacy device need not wait for
        from noise.connection import Keypair, NoiseConnection

        noise = NoiseConnection.from_name(f"Noise_KKpsk2_{payload['suite']}".encode())
        noise.set_as_initiator()
        noise.set_keypair_from_private_bytes(Keypair.STATIC, self._private)
        public = unb64url(payload["client_id"], 32)
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, public)
        noise.set_prologue(client_init + init)
        noise.set_psks(psks=[SENTINEL])
        noise.start_handshake()
        psk_id = b64url(hashlib.sha256(b"sendspin-psk-id-v1" + SENTINEL).digest())
        inner = msgspec.json.encode({"psk_id": psk_id, "psk_category": "sn"})
        try:
            first = bytes(noise.write_message(inner))
        except ValueError as error:  # a low-order point as the device's key
            text = f"client/init's client_id is no usable key: {error}"
            raise SealError(text, "malformed") from error
        self._noise = noise
        return init, messages.encode("noise/handshake", {"data": b64url(first)})

    def accept(self, payload: object) -> None:
        """Take the device's noise/handshake message 2. Raises `SealError`."""
        data = unb64url(payload.get("data")) if isinstance(payload, dict) else None
        if data is None:
            raise SealError("noise/handshake without data in base64url")
        if self._noise is None or self.ready:
            raise SealError("noise/handshake that nobody asked for")
        try:
            inner = bytes(self._noise.read_message(data))
        except _unsealable() as error:
            raise SealError("noise/handshake message 2 does not authenticate") from error
        if inner != b"{}":
            raise SealError(f"noise/handshake message 2 carries {inner[:20]!r}, not {{}}")
        self.ready = True

    def seal(self, data: bytes, *, message_id: int = JSON_ID) -> list[bytes]:
        """Payloads of binary frames that carry a message; several where it has to be split."""
        if 1 + len(data) <= PLAINTEXT_BOUND:
            return [bytes(self._noise.encrypt(bytes((message_id,)) + data))]
        frames = []
        at = 0
        while at < len(data):
            head = bytes((message_id,)) if at == 0 else b""
            room = PLAINTEXT_BOUND - 2 - len(head)
            flags = (_FIRST if at == 0 else 0) | (_LAST if at + room >= len(data) else 0)
            part = bytes((FRAGMENT_ID, flags)) + head + data[at : at + room]
            frames.append(bytes(self._noise.encrypt(part)))
            at += room
        return frames

    def open(self, sealed: bytes) -> Opened | None:
        """The message that a binary frame's payload completes; None: it was a fragment.

        Raises `SealError` for what does not open, and for fragments out of order.
        """
        try:
            plain = bytes(self._noise.decrypt(sealed))
        except _unsealable() as error:
            raise SealError("it does not open with this connection's key") from error
        if not plain:
            raise SealError("nothing is inside")
        if plain[0] != FRAGMENT_ID:
            if self._parts is not None:
                raise SealError("another message inside a fragmented one")
            return Opened(plain[0], plain[1:])
        return self._fragment(plain)

    def _fragment(self, plain: bytes) -> Opened | None:
        first = len(plain) >= 2 and bool(plain[1] & _FIRST)
        head = 3 if first else 2
        if len(plain) < head or plain[1] & _RESERVED or (first and plain[2] == FRAGMENT_ID):
            raise SealError("a malformed fragment")
        if first == (self._parts is not None):
            raise SealError("a fragment out of order")
        if first:
            self._parts, self._parts_id = bytearray(), plain[2]
        assert self._parts is not None
        self._parts += plain[head:]
        if len(self._parts) > MESSAGE_BOUND:
            raise SealError(f"a fragmented message of more than {MESSAGE_BOUND} bytes")
        if not plain[1] & _LAST:
            return None
        data, self._parts = bytes(self._parts), None
        return Opened(self._parts_id, data)
