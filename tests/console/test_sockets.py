"""What the device's log says about its sockets, by version."""

from __future__ import annotations

import pytest

from rig.console.parser import ConsoleParser
from rig.history.events import SocketSeen


def seen(*lines: str) -> list[SocketSeen]:
    parser = ConsoleParser("b")
    events = parser.feed("".join(line + "\r\n" for line in lines).encode(), 7)
    return [event for event in events if isinstance(event, SocketSeen)]


@pytest.mark.parametrize(
    ("line", "op", "fd", "errno"),
    [
        ("D (1) sendspin.ws_server: New client connection on socket 57", "opened", 57, None),
        (
            "D (1) sendspin.ws_server: WebSocket upgrade complete on socket 58, "
            "delivering connection",
            "upgraded",
            58,
            None,
        ),
        ("D (1) sendspin.ws_server: Client closed connection on socket 57", "closed", 57, None),
        (
            "D (1) sendspin.conn_mgr: Connection closed callback for socket 57",
            "closed",
            57,
            None,
        ),
        ("I (1) sendspin.conn_mgr: Current connection lost", "lost", None, None),
        ("D (1) sendspin.conn_mgr: Pending connection lost", "lost", None, None),
        (
            "W (1) sendspin.conn_mgr: Nursery connection stalled at hello (>30 s), dropping",
            "stalled",
            None,
            None,
        ),
        (
            "W (1) sendspin.conn_mgr: Already have pending connection, rejecting new connection",
            "refused",
            None,
            None,
        ),
        ("W (1) sendspin.conn_mgr: Hello message send failed", "send_failed", None, None),
        (
            "E (1) sendspin.server_connection: httpd_queue_work failed for time message",
            "send_failed",
            None,
            None,
        ),
        ("W (1) httpd_txrx: httpd_sock_err: error in recv : 11", "stalled", None, 11),
        ("W (1) httpd_txrx: httpd_sock_err: error in recv : 104", "lost", None, 104),
        ("W (1) httpd_txrx: httpd_sock_err: error in send : 104", "send_failed", None, 104),
        (
            "[D][esp-idf:000][httpd]: D (1) sendspin.ws_server: New client connection on socket 57",
            "opened",
            57,
            None,
        ),
    ],
)
def test_a_line_tells_of_a_socket(line: str, op: str, fd: int | None, errno: int | None) -> None:
    (event,) = seen(line)
    assert (event.op, event.fd, event.errno) == (op, fd, errno)
    assert (event.t, event.line, event.device_ms) == (7, 1, 1)


def test_a_close_told_by_two_components_is_one_event() -> None:
    server = "D (1) sendspin.ws_server: Client closed connection on socket 57"
    callback = "D (2) sendspin.conn_mgr: Connection closed callback for socket 57"
    assert [event.op for event in seen(server, callback)] == ["closed"]


def test_without_the_servers_lines_every_callback_is_a_close() -> None:
    callbacks = [
        f"D ({n}) sendspin.conn_mgr: Connection closed callback for socket 57" for n in (1, 2)
    ]
    assert [event.op for event in seen(*callbacks)] == ["closed", "closed"]


def test_a_recycled_number_is_seen_again() -> None:
    events = seen(
        "D (1) sendspin.ws_server: New client connection on socket 57",
        "D (2) sendspin.ws_server: Client closed connection on socket 57",
        "D (2) sendspin.conn_mgr: Connection closed callback for socket 57",
        "D (3) sendspin.ws_server: New client connection on socket 57",
        "D (4) sendspin.conn_mgr: Connection closed callback for socket 57",
    )
    assert [(event.op, event.fd) for event in events] == [
        ("opened", 57),
        ("closed", 57),
        ("opened", 57),
        ("closed", 57),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "New client connection on socket 57",
        "I (1) my_app: New client connection on socket 57",
        "I (1) sendspin.ws_server: Starting server on port: 8928 (max connections: 4)",
    ],
)
def test_other_lines_are_no_witness(line: str) -> None:
    assert seen(line) == []
