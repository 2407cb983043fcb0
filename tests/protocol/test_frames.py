"""Frames as bytes: written, read in any chunking, judged by wsproto and websockets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.streams import StreamReader

from rig.protocol.frames import KEEP, FrameReader, encode_close, encode_frame, frame_extent

MASK = b"\x12\x34\x56\x78"
payloads = st.one_of(st.binary(max_size=300), st.integers(65_534, 65_537).map(bytes))
masks = st.one_of(st.none(), st.binary(min_size=4, max_size=4))


def read_with_websockets(data: bytes, *, masked: bool) -> TheirFrame:
    """The same bytes through the websockets library's own parser."""
    stream = StreamReader()
    stream.feed_data(data)
    parser = TheirFrame.parse(stream.read_exact, mask=masked, max_size=None)
    with pytest.raises(StopIteration) as done:
        next(parser)
    frame = done.value.value
    assert isinstance(frame, TheirFrame)
    return frame


@settings(deadline=None)
@given(payloads, masks, st.booleans())
def test_what_is_written_is_what_websockets_reads(
    payload: bytes, mask: bytes | None, fin: bool
) -> None:
    theirs = read_with_websockets(
        encode_frame("binary", payload, mask=mask, fin=fin), masked=mask is not None
    )
    assert (theirs.opcode, theirs.data, theirs.fin) == (TheirOpcode.BINARY, payload, fin)


@settings(deadline=None)
@given(st.lists(st.tuples(payloads, masks), max_size=4), st.integers(1, 64))
def test_frames_are_the_same_in_any_chunking(
    frames: list[tuple[bytes, bytes | None]], step: int
) -> None:
    data = b"".join(encode_frame("text", payload, mask=mask) for payload, mask in frames)
    step = step if len(data) < 2_000 else step * 500
    reader = FrameReader()
    read = [frame for i in range(0, len(data), step) for frame in reader.feed(data[i : i + step])]
    assert reader.error is None
    assert not reader.inside
    assert [(frame.size, frame.payload, frame.masked) for frame in read] == [
        (len(payload), payload[:KEEP], mask is not None) for payload, mask in frames
    ]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200)))
def test_no_bytes_make_the_reader_raise(chunks: list[bytes]) -> None:
    reader = FrameReader(compressed=True)
    for chunk in chunks:
        reader.feed(chunk)


def test_a_frame_of_a_hundred_megabytes_is_counted_and_not_kept() -> None:
    reader = FrameReader()
    chunk = bytes(1 << 20)
    frames = reader.feed(b"\x82\x7f" + (100 << 20).to_bytes(8, "big"))
    for _ in range(100):
        frames += reader.feed(chunk)
        assert len(reader._kept) + len(reader._decoder.buffer) <= KEEP
    (frame,) = frames
    assert frame.size == 100 << 20
    assert len(frame.payload) == KEEP
    assert not frame.whole


def test_after_an_error_the_reader_reads_nothing_more() -> None:
    reader = FrameReader()
    assert reader.feed(b"\x83\x00") == []
    assert reader.error == "Invalid opcode 0x3"
    assert reader.feed(encode_frame("text", b"{}")) == []


def test_a_reserved_bit_is_an_error_unless_compression_was_agreed() -> None:
    data = encode_frame("text", b"abc", reserved=4)
    strict, agreed = FrameReader(), FrameReader(compressed=True)
    assert strict.feed(data) == []
    assert strict.error == "Reserved bit set unexpectedly"
    assert agreed.feed(data)[0].compressed


@settings(deadline=None)
@given(payloads, masks, st.binary(max_size=20))
def test_the_extent_of_a_frame_is_its_length_on_the_wire(
    payload: bytes, mask: bytes | None, more: bytes
) -> None:
    data = encode_frame("text", payload, mask=mask)
    assert frame_extent(data + more) == len(data)


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\x7e\x01", b"\x81\x85\x00\x00"])
def test_the_extent_is_unknown_while_the_header_is_incomplete(data: bytes) -> None:
    assert frame_extent(data) is None


@pytest.mark.parametrize("data", [b"H", b"\x83", b"\xff\x00", b"\x89\x7e\x00\x01"])
def test_what_begins_no_frame_has_no_extent(data: bytes) -> None:
    with pytest.raises(ValueError):
        frame_extent(data)


def test_a_close_frame_carries_code_and_reason() -> None:
    theirs = read_with_websockets(encode_close(1001, "bye", mask=MASK), masked=True)
    assert theirs.data == b"\x03\xe9bye"
    assert encode_close(None) == b"\x88\x00"
