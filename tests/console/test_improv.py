"""Improv's packets: what is sent, and what is found between log lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.console.improv import (
    Client,
    Command,
    Decoder,
    Failed,
    Packet,
    State,
    encode,
    read_result,
    request,
    wifi_settings,
)

STATE, ERROR, RESULT = 1, 2, 4


def test_a_request_is_as_the_protocol_says() -> None:
    packet = request(Command.CURRENT_STATE)
    assert packet == b"IMPROV\x01\x03\x02\x02\x00\xe5\n"
    assert sum(packet[:-2]) & 0xFF == packet[-2]


def test_credentials_go_behind_their_lengths() -> None:
    (packet,) = Decoder().feed(wifi_settings("lab", "secret12"))
    assert packet == Packet(3, b"\x01\x0d\x03lab\x08secret12")


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=255)), max_size=4),
    st.binary(max_size=80).filter(lambda data: b"I" not in data),
    st.data(),
)
def test_packets_are_found_between_anything_in_pieces_of_any_size(
    packets: list[tuple[int, bytes]], between: bytes, data: st.DataObject
) -> None:
    stream = between + b"".join(encode(kind, body) + between for kind, body in packets)
    decoder, found, at = Decoder(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 300))
        found += decoder.feed(stream[at : at + size])
        at += size
    assert found == [Packet(kind, body) for kind, body in packets]


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_nonsense_is_no_exception_and_is_not_hoarded(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        decoder.feed(b"IMPROV" + piece)
        assert len(decoder._held) <= 6 + 3 + 255 + 1


@given(st.binary(max_size=260))
def test_any_answer_is_read_or_none(data: bytes) -> None:
    result = read_result(data)
    assert result is None or result.command == data[0]


def test_a_packet_that_fails_its_sum_is_passed_over_and_the_next_is_found() -> None:
    torn = bytearray(encode(STATE, b"\x02"))
    torn[-2] ^= 1
    assert Decoder().feed(bytes(torn) + encode(STATE, b"\x04")) == [Packet(STATE, b"\x04")]


def test_a_device_gets_the_credentials_once_and_says_where_to_go_on() -> None:
    client = Client("lab", "secret12")
    assert client.ask() == request(Command.CURRENT_STATE)
    assert client.receive(b"I (12) boot: hello\n" + encode(STATE, b"\x02")) == wifi_settings(
        "lab", "secret12"
    )
    assert client.receive(encode(STATE, b"\x03")) == b""
    assert client.state is State.PROVISIONING
    assert client.url is None
    client.receive(encode(RESULT, b"\x01\x04\x03url"))
    assert client.url == "url"


def test_an_older_network_is_no_reason_not_to_hand_them_over() -> None:
    client = Client("lab", "secret12")
    old = encode(STATE, b"\x04") + encode(RESULT, b"\x02\x04\x03old")
    assert client.receive(old) == wifi_settings("lab", "secret12")
    assert client.url is None


@pytest.mark.parametrize(
    ("code", "words"), [(3, "could not join"), (2, "does not know"), (0x77, "error 119")]
)
def test_a_device_that_says_no_is_an_error_without_a_secret(code: int, words: str) -> None:
    client = Client("lab", "secret12")
    client.receive(encode(ERROR, b"\0") + encode(STATE, b"\x02"))
    with pytest.raises(Failed, match=words) as caught:
        client.receive(encode(ERROR, bytes([code])))
    assert "secret12" not in str(caught.value)


def test_a_device_that_wants_its_button_pressed_says_so() -> None:
    with pytest.raises(Failed, match="press its button"):
        Client("lab", "secret12").receive(encode(STATE, b"\x01"))


def test_more_than_fits_a_packet_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 255"):
        encode(STATE, b"x" * 256)
