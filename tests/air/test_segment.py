from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from rig.air.segment import ACK, PSH, RST, SYN, Flows, Segment, after, parse

SERVER, DEVICE = ("10.0.0.1", 40000), ("10.0.0.2", 8928)


def frame(
    payload: bytes = b"", *, flags: int = ACK, seq: int = 1, ack: int = 2, trailer: bytes = b""
) -> bytes:
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2"
    )
    tcp = struct.pack("!HHIIBBHHH", 40000, 8928, seq, ack, 0x50, flags, 512, 0, 0)
    return b"\2" * 6 + b"\4" * 6 + b"\x08\0" + ip + tcp + payload + trailer


def sent(payload: bytes = b"", *, flags: int = ACK, seq: int = 1, ack: int = 0) -> Segment:
    return Segment(b"", b"", SERVER, DEVICE, flags, seq, ack, 512, payload)


def test_a_segment_is_read_from_its_frame() -> None:
    found = parse(frame(b"hello", flags=PSH | ACK, seq=7, ack=9))
    assert found == Segment(b"\4" * 6, b"\2" * 6, SERVER, DEVICE, PSH | ACK, 7, 9, 512, b"hello")
    assert (found.letters, found.end) == ("PA", 12)


def test_padding_behind_the_packet_is_no_payload() -> None:
    found = parse(frame(b"x", trailer=b"\0" * 5))
    assert found is not None
    assert found.payload == b"x"


def test_a_syn_takes_one_sequence_number() -> None:
    assert sent(flags=SYN, seq=(1 << 32) - 1).end == 0


@given(st.binary(max_size=120))
def test_noise_is_no_segment_or_a_bounded_one(noise: bytes) -> None:
    for data in (noise, frame()[:14] + noise, frame()[:34] + noise, frame() + noise):
        found = parse(data)
        assert found is None or len(found.payload) <= len(data)


@given(st.data())
def test_a_damaged_frame_never_crashes_the_parser(data: st.DataObject) -> None:
    sound = bytearray(frame(b"payload"))
    sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    parse(bytes(sound))


def test_order_goes_around_the_wrap() -> None:
    assert after(5, 0xFFFFFFF0)
    assert not after(0xFFFFFFF0, 5)


def test_a_segment_seen_before_is_a_retransmission() -> None:
    flows = Flows()
    assert [flows.take(sent(b"abc", seq=1)) for _ in range(3)] == [False, True, True]


def test_a_bare_acknowledgement_is_never_one() -> None:
    flows = Flows()
    assert [flows.take(sent(seq=1)) for _ in range(2)] == [False, False]


def test_new_data_behind_old_is_none() -> None:
    flows = Flows()
    assert not flows.take(sent(b"abc", seq=1))
    assert not flows.take(sent(b"def", seq=4))


def test_a_new_syn_begins_anew_on_the_same_four_tuple() -> None:
    flows = Flows()
    flows.take(sent(b"abc", seq=5000))
    assert not flows.take(sent(flags=SYN, seq=10))
    assert not flows.take(sent(b"x", seq=11))


def test_a_repeated_syn_is_a_retransmission() -> None:
    flows = Flows()
    assert [flows.take(sent(flags=SYN, seq=10)) for _ in range(2)] == [False, True]


def test_a_reset_teaches_nothing() -> None:
    flows = Flows()
    flows.take(sent(b"abc", seq=1))
    flows.take(sent(flags=RST, seq=999_999))
    half = flows.half(SERVER, DEVICE)
    assert half is not None
    assert half.next == 4


def test_the_number_of_flows_is_bounded() -> None:
    flows = Flows()
    for port in range(3000):
        flows.take(Segment(b"", b"", ("10.0.0.1", port), DEVICE, ACK, 1, 1, 1, b""))
    assert flows.half(("10.0.0.1", 0), DEVICE) is None
    assert flows.half(("10.0.0.1", 2999), DEVICE) is not None
