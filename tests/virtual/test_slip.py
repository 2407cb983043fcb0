from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rig.boards.virtual.slip import MAX_PACKET, Decoder, encode

PACKETS = st.lists(st.binary(min_size=1, max_size=200), max_size=8)
CUTS = st.lists(st.integers(0, 2000), max_size=20)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in pairwise(places)]


@given(PACKETS, CUTS)
def test_packets_come_back_however_the_wire_cuts_them(packets, cuts):
    decoder = Decoder()
    wire = b"".join(encode(packet) for packet in packets)
    assert [p for piece in pieces(wire, cuts) for p in decoder.feed(piece)] == packets


def test_noise_before_a_packet_is_skipped():
    assert Decoder().feed(b"wait uart0 download\r\n" + encode(b"abc")) == [b"abc"]


def test_a_packet_of_the_largest_block_passes_even_when_all_of_it_is_escaped():
    packet = b"\xc0" * 0x4010
    assert Decoder().feed(encode(packet)) == [packet]


def test_an_endless_packet_is_dropped_and_the_next_one_is_heard():
    decoder = Decoder()
    decoder.feed(b"\xc0")
    for _ in range(100):
        assert decoder.feed(b"x" * 1000) == []
        assert len(decoder._rest) <= MAX_PACKET
    assert decoder.feed(encode(b"sync")) == [b"sync"]
