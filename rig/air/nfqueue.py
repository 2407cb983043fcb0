"""NFQUEUE's netlink messages (linux/netfilter/nfnetlink_queue.h), packed and read. Sans-I/O.

No kept library speaks them without a compiler on the user's machine: NetfilterQueue is a C
extension that ships no wheels, pyroute2 has no such messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

ACCEPT, DROP = 1, 0
LONGEST_PACKET = 0xFFFF

_SUBSYSTEM = 3 << 8
_PACKET, _VERDICT, _CONFIG = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_ERROR = 2
_REQUEST, _ACK = 1, 4
_CFG_CMD, _CFG_PARAMS, _CFG_MAXLEN = 1, 2, 3
_BIND, _COPY_PACKET = 1, 2
_HEADER, _VERDICT_HEADER, _PAYLOAD = 1, 2, 10
_LOCAL_OUT = 3
_TYPE_MASK = 0x3FFF


@dataclass(frozen=True, slots=True)
class Queued:
    """A packet that waits for a verdict."""

    id: int
    outgoing: bool
    """From this host, else to it."""
    payload: bytes
    """From the IP header on."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The kernel's answer to a request: 0 is success, else an errno."""

    errno: int


def bind(queue: int, most: int) -> bytes:
    """Bind to a queue; whole packets, at most `most` waiting. Answered by three `Failed`."""
    return b"".join(
        _message(_CONFIG, _REQUEST | _ACK, queue, _attribute(kind, data))
        for kind, data in (
            (_CFG_CMD, struct.pack("!BxH", _BIND, 0)),
            (_CFG_PARAMS, struct.pack("!IB", LONGEST_PACKET, _COPY_PACKET)),
            (_CFG_MAXLEN, struct.pack("!I", most)),
        )
    )


def verdict(queue: int, number: int, what: int, payload: bytes | None = None) -> bytes:
    """Let a packet go (changed, if a payload is given), or drop it."""
    body = _attribute(_VERDICT_HEADER, struct.pack("!II", what, number))
    if payload is not None:
        body += _attribute(_PAYLOAD, payload)
    return _message(_VERDICT, _REQUEST, queue, body)


def read(data: bytes) -> Iterator[Queued | Failed]:
    """What one datagram of the kernel holds; what is none of ours is skipped."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16 or at + length > len(data):
            return
        body = data[at + 16 : at + length]
        if kind == _ERROR and len(body) >= 4:
            yield Failed(-struct.unpack_from("=i", body)[0])
        elif kind == _PACKET and len(body) >= 4:
            found = _queued(body[4:])
            if found is not None:
                yield found
        at += (length + 3) & ~3


def _queued(attributes: bytes) -> Queued | None:
    header = payload = None
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if length < 4:
            return None
        value = attributes[at + 4 : at + length]
        if kind & _TYPE_MASK == _HEADER and len(value) >= 7:
            header = struct.unpack_from("!IHB", value)
        elif kind & _TYPE_MASK == _PAYLOAD:
            payload = value
        at += (length + 3) & ~3
    if header is None:
        return None
    return Queued(header[0], header[2] == _LOCAL_OUT, payload or b"")


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def _message(kind: int, flags: int, queue: int, body: bytes) -> bytes:
    return (
        struct.pack("=IHHII", 20 + len(body), kind, flags, 0, 0)
        + struct.pack("!BBH", 0, 0, queue)
        + body
    )
