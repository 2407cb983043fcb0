"""The tap: both directions' bytes in, events out, whatever a device sends."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.history.events import (
    EarlyBytes,
    Entry,
    Event,
    Frame,
    UpgradeAnswered,
    UpgradeAsked,
    WireError,
)
from rig.history.store import decode, encode
from rig.protocol.frames import KEEP, encode_close, encode_frame
from rig.protocol.handshake import upgrade_answer, upgrade_request
from rig.protocol.tap import Tap

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = upgrade_request("h", "/sendspin", KEY)
ANSWER = upgrade_answer(KEY)
MASK = b"\x01\x02\x03\x04"
HELLO = b'{"type":"client/hello","payload":{"client_id":"c"}}'


def upgraded() -> Tap:
    tap = Tap(1)
    tap.feed("server", REQUEST, 0)
    tap.feed("device", ANSWER, 0)
    return tap


def kinds(events: list[Event]) -> list[str]:
    return [event.tag for event in events]


def feed_in_steps(tap: Tap, data: bytes, step: int) -> list[Event]:
    return [
        event
        for i in range(0, len(data), step)
        for event in tap.feed("device", data[i : i + step], 0)
    ]


@settings(deadline=None)
@given(st.integers(1, 400))
def test_a_conversation_in_any_chunking(step: int) -> None:
    tap = Tap(3)
    asked = [
        e
        for i in range(0, len(REQUEST), step)
        for e in tap.feed("server", REQUEST[i : i + step], 5)
    ]
    assert asked == [UpgradeAsked(t=5, conn=3)]
    answered, hello = feed_in_steps(tap, ANSWER + encode_frame("text", HELLO), step)
    assert isinstance(answered, UpgradeAnswered)
    assert answered.status == 101
    assert isinstance(hello, Frame)
    assert (hello.sender, hello.opcode, hello.type) == ("device", "text", "client/hello")
    assert hello.message == {"type": "client/hello", "payload": {"client_id": "c"}}
    assert hello.text == HELLO.decode()
    assert (hello.size, hello.masked, hello.fin) == (len(HELLO), False, True)


@settings(deadline=None)
@given(st.integers(1, 400))
def test_a_frame_before_the_answer_is_early_and_the_answer_is_still_seen(step: int) -> None:
    tap = Tap(1)
    tap.feed("server", REQUEST, 0)
    stray = encode_frame("text", b'{"type":"client/time","payload":{"client_transmitted":7}}')
    early, answered, hello = feed_in_steps(tap, stray + ANSWER + encode_frame("text", HELLO), step)
    assert isinstance(early, EarlyBytes)
    assert (early.size, early.opcode, early.type) == (len(stray), "text", "client/time")
    assert early.message is not None
    assert early.message["payload"] == {"client_transmitted": 7}
    assert early.head == stray[:64].hex()
    assert isinstance(answered, UpgradeAnswered)
    assert isinstance(hello, Frame)


def test_a_frame_before_the_request_is_early_too() -> None:
    tap = Tap(1)
    (early,) = tap.feed("device", encode_frame("text", HELLO), 0)
    assert isinstance(early, EarlyBytes)
    assert early.type == "client/hello"


@settings(deadline=None)
@given(st.integers(1, 60))
def test_junk_before_the_answer_is_early_and_the_answer_is_still_seen(step: int) -> None:
    tap = Tap(1)
    tap.feed("server", REQUEST, 0)
    *early, answered = feed_in_steps(tap, b"Hello?" + ANSWER, step)
    assert all(isinstance(event, EarlyBytes) for event in early)
    assert sum(event.size for event in early if isinstance(event, EarlyBytes)) == 6
    assert isinstance(answered, UpgradeAnswered)


def test_an_answer_inside_what_looked_like_a_long_frame_is_found() -> None:
    tap = Tap(1)
    early, answered = tap.feed("device", b"\x81\x7f" + bytes(6) + b"\xff\xff" + ANSWER, 0)
    assert isinstance(early, EarlyBytes)
    assert early.size == 10
    assert isinstance(answered, UpgradeAnswered)


def test_an_incomplete_early_frame_is_reported_at_the_end() -> None:
    tap = Tap(1)
    assert tap.feed("device", b"\x81\x20abc", 0) == []
    (early,) = tap.end("device", 9, cut=True)
    assert early == EarlyBytes(t=9, conn=1, size=5, head="8120616263")


def test_endless_early_bytes_are_bounded() -> None:
    tap = Tap(1)
    tap.feed("device", b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 0)
    for _ in range(64):
        tap.feed("device", bytes(16_384), 0)
        assert len(tap._sides["device"].pending) <= 65_536 + 16_384


def test_a_refused_upgrade_is_answered_with_its_status() -> None:
    tap = Tap(1)
    tap.feed("server", REQUEST, 0)
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope"
    assert tap.feed("device", answer, 2) == [UpgradeAnswered(t=2, conn=1, status=404)]
    assert tap.answered == 404


def test_an_interim_answer_is_passed_over() -> None:
    tap = Tap(1)
    tap.feed("server", REQUEST, 0)
    events = tap.feed("device", b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, 0)
    assert kinds(events) == ["upgrade_answered"]


def test_a_wrong_accept_key_is_a_wire_error() -> None:
    tap = Tap(1)
    tap.feed("server", REQUEST, 0)
    events = tap.feed("device", upgrade_answer("another"), 0)
    assert kinds(events) == ["upgrade_answered", "wire_error"]


def test_an_endless_answer_is_given_up() -> None:
    tap = Tap(1)
    events = tap.feed("device", b"HTTP/1.1 101 " + b"x" * 20_000, 0)
    assert kinds(events) == ["wire_error"]
    assert tap.feed("device", ANSWER, 0) == []


def test_what_is_no_upgrade_request_is_a_wire_error_of_the_server() -> None:
    (event,) = Tap(1).feed("server", b"\x81\x00", 0)
    assert isinstance(event, WireError)
    assert event.sender == "server"


def test_masked_server_frames_are_unmasked() -> None:
    tap = upgraded()
    (frame,) = tap.feed("server", encode_frame("text", b'{"type":"server/hello"}', mask=MASK), 0)
    assert isinstance(frame, Frame)
    assert (frame.masked, frame.type, frame.sender) == (True, "server/hello", "server")


def test_binary_frames_show_their_first_bytes() -> None:
    (frame,) = upgraded().feed("device", encode_frame("binary", bytes(range(100))), 0)
    assert isinstance(frame, Frame)
    assert (frame.size, frame.head, frame.text) == (100, bytes(range(32)).hex(), None)


def test_close_frames_show_code_and_reason() -> None:
    (frame,) = upgraded().feed("device", encode_close(1000, "done"), 0)
    assert isinstance(frame, Frame)
    assert (frame.close_code, frame.close_reason) == (1000, "done")


@pytest.mark.parametrize("data", [encode_close(1005), encode_close(5), b"\x88\x01x"])
def test_a_close_frame_that_none_may_send_is_a_wire_error(data: bytes) -> None:
    assert kinds(upgraded().feed("device", data, 0)) == ["frame", "wire_error"]


def test_a_fragmented_message_is_parsed_at_its_end() -> None:
    first, ping, last = upgraded().feed(
        "device",
        encode_frame("text", HELLO[:9], fin=False)
        + encode_frame("ping", b"x")
        + encode_frame("continuation", HELLO[9:]),
        0,
    )
    assert isinstance(first, Frame)
    assert isinstance(ping, Frame)
    assert isinstance(last, Frame)
    assert (first.type, first.fin, ping.opcode, last.type) == (None, False, "ping", "client/hello")


def test_a_continuation_of_nothing_is_a_wire_error() -> None:
    events = upgraded().feed("device", encode_frame("continuation", b"x"), 0)
    assert kinds(events) == ["frame", "wire_error"]


def test_broken_utf8_is_a_frame_and_a_wire_error() -> None:
    frame, wrong = upgraded().feed("device", encode_frame("text", b'{"type":"\xff"}'), 0)
    assert isinstance(frame, Frame)
    assert (frame.type, frame.message) == (None, None)
    assert isinstance(wrong, WireError)
    assert "UTF-8" in wrong.text


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b"[1, 2]",
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"a":' + b"9" * 9_000 + b"}",
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b"",
    ],
)
def test_odd_json_is_a_frame_without_a_message(payload: bytes) -> None:
    (frame,) = upgraded().feed("device", encode_frame("text", payload), 0)
    assert isinstance(frame, Frame)
    assert (frame.type, frame.message) == (None, None)


def test_a_type_that_is_no_text_is_none() -> None:
    (frame,) = upgraded().feed("device", encode_frame("text", b'{"type":{"a":1}}'), 0)
    assert isinstance(frame, Frame)
    assert frame.type is None
    assert frame.message == {"type": {"a": 1}}


def test_a_large_text_is_counted_and_bounded() -> None:
    payload = b'{"type":"x","pad":"' + b"p" * 200_000 + b'"}'
    (frame,) = upgraded().feed("device", encode_frame("text", payload), 0)
    assert isinstance(frame, Frame)
    assert (frame.size, frame.message) == (len(payload), None)
    assert frame.text is not None
    assert len(frame.text) == KEEP


def test_a_side_that_ends_inside_a_frame_is_told_of() -> None:
    tap = upgraded()
    tap.feed("device", b"\x81\x05ab", 0)
    assert not tap.between_frames("device")
    (event,) = tap.end("device", 4)
    assert event == WireError(t=4, conn=1, sender="device", text="ended inside a frame")


def test_a_side_that_was_cut_inside_a_frame_is_not_blamed() -> None:
    tap = upgraded()
    tap.feed("device", b"\x81\x05ab", 0)
    assert tap.end("device", 4, cut=True) == []


def test_the_stall_of_one_byte_is_inside_a_frame() -> None:
    tap = upgraded()
    assert tap.between_frames("server")
    assert tap.feed("server", b"\x81", 0) == []
    assert not tap.between_frames("server")


def test_compressed_frames_are_read_where_compression_was_agreed() -> None:
    tap = Tap(1)
    tap.feed("server", REQUEST, 0)
    answer = ANSWER[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    tap.feed("device", answer, 0)
    (frame,) = tap.feed("device", encode_frame("text", b"\xaa\x00", reserved=4), 0)
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.text, frame.head) == ("text", None, "aa00")


def test_a_device_that_dials_asks_and_the_server_answers() -> None:
    tap = Tap(1, dialler="device")
    assert kinds(tap.feed("device", REQUEST, 0)) == ["upgrade_asked"]
    assert kinds(tap.feed("server", ANSWER, 0)) == ["upgrade_answered"]
    (frame,) = tap.feed("device", encode_frame("text", HELLO, mask=MASK), 0)
    assert isinstance(frame, Frame)
    assert (frame.type, frame.masked) == ("client/hello", True)


sides = st.sampled_from(["server", "device"])
junk = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([REQUEST, ANSWER, ANSWER[:30], b"\x81", encode_frame("text", HELLO)]),
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=9)),
        lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ).map(lambda value: encode_frame("text", msgspec.json.encode(value))),
)


@settings(deadline=None)
@given(st.lists(st.tuples(sides, junk)), st.booleans())
def test_nothing_makes_the_tap_raise_and_every_event_can_be_written(
    chunks: list[tuple[str, bytes]], cut: bool
) -> None:
    tap = Tap(1)
    events: list[Event] = []
    for sender, data in chunks:
        events += tap.feed(sender, data, 0)  # type: ignore[arg-type]
    events += tap.end("device", 0, cut=cut) + tap.end("server", 0)
    for event in events:
        assert decode(encode(Entry(1, event))).event == event
