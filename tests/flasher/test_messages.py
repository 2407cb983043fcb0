"""The pipe's messages: typed both ways, bounded."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_flasher.messages import (
    LENGTH,
    MAX_MESSAGE,
    Done,
    Down,
    Link,
    Piece,
    Settings,
    WriteRequest,
    body_length,
    pack,
    unpack_down,
    unpack_up,
)

requests = st.builds(
    WriteRequest,
    link=st.builds(
        Link,
        url=st.text(max_size=20),
        bauds=st.lists(st.integers(1, 10**6), max_size=3),
        before=st.text(max_size=9),
        after=st.text(max_size=9),
    ),
    pieces=st.lists(
        st.builds(
            Piece,
            name=st.text(max_size=9),
            offset=st.integers(0, 2**32),
            data=st.binary(max_size=99),
        ),
        max_size=3,
    ),
    settings=st.just(Settings()),
)


@given(requests)
def test_a_request_arrives_as_it_was_sent(request: WriteRequest) -> None:
    packed = pack(request)

    assert body_length(packed[: LENGTH.size]) == len(packed) - LENGTH.size
    assert unpack_down(packed[LENGTH.size :]) == request


def test_a_result_is_no_request() -> None:
    body = pack(Done())[LENGTH.size :]

    with pytest.raises(msgspec.DecodeError):
        unpack_down(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_one_error(body: bytes) -> None:
    for unpack in (unpack_down, unpack_up):
        try:
            message: Down | object = unpack(body)
        except msgspec.DecodeError:
            continue
        assert isinstance(message, msgspec.Struct)


def test_a_length_beyond_the_bound_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="at most"):
        body_length(LENGTH.pack(MAX_MESSAGE + 1))
