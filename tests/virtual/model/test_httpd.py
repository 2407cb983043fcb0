"""The HTTP server's model at its edges: order, limits, and what it says to nonsense."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.boards.virtual.http import MAX_HEADERS, Refusal, Request, read_head
from rig.boards.virtual.httpd import header

Boot = Callable[[str], Any]
Connect = Callable[..., Any]
Frames = Callable[..., bytes]


@pytest.fixture
def device(boot: Boot) -> Any:
    return boot("v0.7.0")


def test_the_lowest_free_number_is_given_again_and_again(device: Any, peer: Connect) -> None:
    for _ in range(3):
        server = peer(device).upgrade()
        server.wait_status()
        server.reset()
        device.wait_log("Client closed connection on socket 57")
        device.system.lines.clear()
    first, second = peer(device).upgrade(), peer(device).upgrade()
    first.wait_status()
    second.wait_status()
    device.wait_log("New client connection on socket 58")


def test_a_connection_beyond_the_table_waits_in_the_backlog(boot: Boot, peer: Connect) -> None:
    device = boot("v0.6.1")
    first, second, third = (peer(device, name).upgrade() for name in "ABC")
    first.wait_status()
    second.wait_status()
    third.read(0.2)
    assert third.status is None
    first.reset()
    assert third.wait_status() == 101


def test_a_wrong_path_is_not_found(device: Any, peer: Connect) -> None:
    server = peer(device)
    server.get("/other")
    assert server.wait_status() == 404
    server.wait_end()
    device.wait_log("httpd_uri: httpd_uri: URI '/other' not found")
    device.wait_log("httpd_resp_send_err: 404 Not Found - Nothing matches the given URI")


def test_another_method_is_not_allowed(device: Any, peer: Connect) -> None:
    server = peer(device)
    server.send(b"POST /sendspin HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    assert server.wait_status() == 405
    device.wait_log("Method '3' not allowed for URI '/sendspin'")


def test_a_header_that_does_not_fit_is_refused(device: Any, peer: Connect) -> None:
    server = peer(device)
    server.send(b"GET /sendspin HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEADERS)
    assert server.wait_status() == 431
    device.wait_log("request URI/header too long")


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01", b"HELO there\r\n\r\n", b"\0" * 200])
def test_what_is_no_http_is_a_bad_request(device: Any, peer: Connect, junk: bytes) -> None:
    server = peer(device)
    server.send(junk)
    assert server.wait_status() == 400
    server.wait_end()


def test_an_upgrade_without_a_version_is_dropped_without_a_word(device: Any, peer: Connect) -> None:
    server = peer(device)
    server.get(Upgrade="websocket", Connection="Upgrade")
    server.wait_end()
    assert server.raw == b""
    device.wait_log('"Sec-WebSocket-Version" is not found')


def test_a_plain_get_is_taken_for_the_upgrade(boot: Boot, peer: Connect) -> None:
    server = peer(boot("v0.6.1"))
    server.get()
    server.read(0.3)
    assert b'{"type":"client/hello"' in server.raw  # a frame where nothing was upgraded
    assert server.status is None


def test_a_stall_ends_after_the_time_out(device: Any, peer: Connect) -> None:
    stalled = peer(device, "A").establish()
    began = time.monotonic()
    stalled.send(b"\x81")
    waiting = peer(device, "B").upgrade()
    stalled.wait_end(8)
    assert 4.5 < time.monotonic() - began < 7.5
    assert waiting.wait_status() == 101
    device.wait_log("httpd_txrx: httpd_sock_err: error in recv : 11")
    device.wait_log("httpd_ws: httpd_ws_recv_frame: WS frame is not properly masked.")
    device.wait_log("failed to get frame len with 259")


def test_a_reset_is_logged_as_on_the_device(device: Any, peer: Connect) -> None:
    server = peer(device, "A").establish()
    server.send(b"\x81")
    server.reset()
    device.wait_log("Client closed connection on socket 57")
    for line in (
        "W httpd_txrx: httpd_sock_err: error in recv : 104",
        "W httpd_ws: httpd_ws_recv_frame: WS frame is not properly masked.",
        "E sendspin.server_connection: httpd_ws_recv_frame failed to get frame len with 259",
    ):
        level, text = line[0], line[2:]
        assert any(each.startswith(level) and text in each for each in device.system.lines)


def test_an_unmasked_frame_ends_the_session(device: Any, peer: Connect) -> None:
    server = peer(device, "A").establish()
    server.send(b"\x81\x02{}")
    server.wait_end()
    device.wait_log("WS frame is not properly masked.")


def test_a_frame_that_cannot_be_allocated_ends_the_session(device: Any, peer: Connect) -> None:
    server = peer(device, "A").establish()
    server.send(b"\x82\xff" + struct.pack(">Q", 1 << 30) + b"mask")
    server.wait_end()
    device.wait_log("Failed to allocate 1073741824 bytes for websocket payload")


def test_a_close_is_answered_by_a_close_and_a_ping_by_its_pong(
    device: Any, peer: Connect, frame: Frames
) -> None:
    server = peer(device, "A").establish()
    server.send(frame(9, b"abc"))
    assert server.wait("opcode 10")["data"] == b"abc"
    server.send(frame(8, b"\x03\xe8"))
    assert server.wait("opcode 8")["data"] == b""
    server.wait_end()


def test_a_fragmented_message_is_put_together(device: Any, peer: Connect, frame: Frames) -> None:
    server = peer(device, "A").establish()
    text = b'{"type":"group/update","payload":{"group_name":"kitchen"}}'
    first = bytearray(frame(1, text[:20]))
    first[0] = 0x01  # text, more to come
    server.send(bytes(first) + frame(0, text[20:]))
    device.wait_log("Group update - state: unchanged, id: , name: kitchen")


def test_a_flood_of_frames_does_not_stop_the_device(
    device: Any, peer: Connect, frame: Frames
) -> None:
    server = peer(device, "A").establish()
    server.send(frame(1, b"no json") * 2000)
    device.type("talk 1")
    device.wait_log("queueing 1 client/state")
    server.send(frame(9, b"alive"))
    assert server.wait("opcode 10", 20)["data"] == b"alive"


@given(st.binary(max_size=3000), st.integers(1, 128))
def test_any_bytes_are_a_request_a_refusal_or_not_enough(data: bytes, step: int) -> None:
    for at in range(0, len(data), step):
        result = read_head(data[: at + step])
        assert result is None or isinstance(result, Request | Refusal)
        if result is not None:
            return
    assert len(data) < 512 + MAX_HEADERS + 128


@pytest.mark.parametrize(
    ("size", "head"), [(0, "8100"), (125, "817d"), (126, "817e007e"), (65534, "817efffe")]
)
def test_a_header_has_the_shortest_length_that_fits(size: int, head: str) -> None:
    assert header(1, size).hex() == head
