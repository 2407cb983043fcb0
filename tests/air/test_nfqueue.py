from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from rig.air import nfqueue
from rig.air.nfqueue import Failed, Queued

PACKET = 3 << 8


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def packet(number: int, hook: int, payload: bytes) -> bytes:
    body = bytes(4) + attribute(1, struct.pack("!IHB", number, 0x0800, hook))
    body += attribute(10, payload)
    return struct.pack("=IHHII", 16 + len(body), PACKET, 0, 0, 0) + body


def test_a_queued_packet_is_read_with_its_way() -> None:
    data = packet(7, 3, b"out") + packet(8, 1, b"inward")
    assert list(nfqueue.read(data)) == [Queued(7, True, b"out"), Queued(8, False, b"inward")]


def test_the_kernels_answers_are_read() -> None:
    answer = struct.pack("=IHHIIi", 36, 2, 0, 0, 0, -16) + bytes(16)
    assert list(nfqueue.read(answer)) == [Failed(16)]


def test_a_verdict_names_the_packet_and_carries_its_new_bytes() -> None:
    message = nfqueue.verdict(9, 5, nfqueue.ACCEPT, b"new")
    length, kind = struct.unpack_from("=IH", message)
    assert length <= len(message)
    assert kind == PACKET | 1
    assert struct.unpack_from("!H", message, 18) == (9,)
    assert struct.unpack_from("!II", message, 24) == (nfqueue.ACCEPT, 5)
    assert message[36:39] == b"new"


@given(st.binary(max_size=200))
def test_noise_from_the_socket_is_read_without_a_crash(noise: bytes) -> None:
    list(nfqueue.read(noise))
    list(nfqueue.read(struct.pack("=IHHII", 16 + len(noise), PACKET, 0, 0, 0) + noise))
