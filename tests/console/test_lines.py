"""Bytes to lines: every spelling of a line end, noise, and any chunking."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.console.lines import MAX_LINE, Line, LineSplitter

UARTISH = st.lists(
    st.sampled_from(
        [b"\n", b"\r\n", b"\r", b"\r\r\n", b"\0", b"ab", "µ".encode(), b"\xff\xfe", b"\xe2\x82"]
    )
    | st.binary(max_size=8)
    | st.integers(MAX_LINE - 3, 2 * MAX_LINE + 3).map(lambda n: b"x" * n),
    max_size=30,
).map(b"".join)


def split(*chunks: bytes) -> list[Line]:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.flush()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n"])
def test_each_spelling_of_a_line_end_ends_one_line(end: bytes) -> None:
    assert [(number, text) for number, _, text in split(b"one" + end + end + b"two" + end)] == [
        (1, "one"),
        (2, ""),
        (3, "two"),
    ]


def test_a_lone_carriage_return_makes_a_piece_with_the_same_number() -> None:
    assert split(b"10%\r20%\r\nnext\n") == [(1, 0, "10%"), (1, 4, "20%"), (2, 9, "next")]


def test_a_line_without_its_end_is_held_back_until_flushed() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"Guru Medi") == []
    assert splitter.pending
    assert splitter.flush() == [(1, 0, "Guru Medi")]
    assert splitter.feed(b"tation\nnext\n") == [(1, 9, "tation"), (2, 16, "next")]


def test_nuls_are_dropped_and_noise_is_replaced() -> None:
    assert split(b"\0\0ets\xff Jul\n") == [(1, 0, "ets\ufffd Jul")]


def test_an_endless_line_comes_in_bounded_pieces() -> None:
    splitter = LineSplitter()
    lines = [line for _ in range(5) for line in splitter.feed(b"x" * 3000)]
    assert [(number, offset, len(text)) for number, offset, text in lines] == [
        (1, 0, MAX_LINE),
        (1, MAX_LINE, MAX_LINE),
        (1, 2 * MAX_LINE, MAX_LINE),
    ]


@given(UARTISH, st.lists(st.integers(0, 40_000), max_size=12))
def test_the_chunking_changes_nothing(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges)]
    assert split(*chunks) == split(data)


@given(UARTISH)
def test_one_byte_at_a_time_is_the_same_as_all_at_once(data: bytes) -> None:
    data = data[-300:] + b"y" * 4200
    assert split(*(data[i : i + 1] for i in range(len(data)))) == split(data)


@given(UARTISH)
def test_numbers_and_offsets_point_into_the_log(data: bytes) -> None:
    for number, offset, text in split(data):
        assert number == 1 + data[:offset].count(b"\n")
        assert len(text) <= MAX_LINE
        here = data[offset:].split(b"\n")[0].split(b"\r")[0].decode("utf-8", "replace")
        assert here.replace("\0", "").startswith(text.rstrip("\ufffd"))
