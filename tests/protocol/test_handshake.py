"""The upgrade as bytes, judged by the websockets library."""

from __future__ import annotations

import pytest
from websockets.server import ServerProtocol

from rig.protocol.handshake import (
    accept_key,
    header,
    new_key,
    status_of,
    upgrade_answer,
    upgrade_request,
)


def test_the_accept_key_is_the_one_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_websockets_accepts_the_upgrade_request() -> None:
    server = ServerProtocol()
    server.receive_data(upgrade_request("127.0.0.1:8928", "/sendspin", new_key()))
    (request,) = server.events_received()
    response = server.accept(request)  # type: ignore[arg-type]
    assert response.status_code == 101


def test_a_named_header_replaces_the_usual_one() -> None:
    request = upgrade_request("h", "/", "k", {"Sec-WebSocket-Version": "12", "X-Odd": "1"})
    assert header(request, "sec-websocket-version") == "12"
    assert request.count(b"Sec-WebSocket-Version") == 1
    assert header(request, "X-Odd") == "1"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (upgrade_answer("k"), 101),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", 404),
        (b"HTTP/1.0 200\r\n\r\n", 200),
        (b"HTTP/2 200\r\n\r\n", None),
        (b"HTTP/1.1 abc\r\n\r\n", None),
        (b"", None),
    ],
)
def test_the_status_of_an_answer(head: bytes, status: int | None) -> None:
    assert status_of(head) == status


def test_a_header_that_is_not_there_is_none() -> None:
    assert header(b"HTTP/1.1 101 x\r\nno colon here\r\n\r\n", "Upgrade") is None
