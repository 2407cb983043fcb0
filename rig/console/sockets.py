"""The device's own words about its sockets -> `SocketSeen`. Sans-I/O.

Lines of sendspin-cpp before #57 to v0.7.0 (`facts/sendspin-serial-log.md`) and of ESP-IDF's
`esp_http_server` below it (`facts/esp-http-server.md`). Most are debug lines: a build that does not
print them has no second witness, and the checks say so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rig.history.events import LogLine, SocketOp, SocketSeen

_NUMBER = re.compile(r"(\d{1,5})")
EAGAIN = 11
"""lwIP's errno of a receive or send that timed out (`recv_wait_timeout`, 5 s)."""


@dataclass(frozen=True, slots=True)
class _Phrase:
    """A line that starts with `start` means `op`; `number` says what its first number is."""

    start: str
    op: SocketOp
    number: str | None = None


_CLOSED_BY_SERVER = _Phrase("Client closed connection on socket ", "closed", "fd")
_CLOSED_CALLBACK = _Phrase("Connection closed callback for socket ", "closed", "fd")
_RECEIVE_FAILED = _Phrase("httpd_sock_err: error in recv : ", "lost", "errno")

_PHRASES: dict[str, tuple[_Phrase, ...]] = {
    "sendspin.ws_server": (
        _Phrase("New client connection on socket ", "opened", "fd"),
        _Phrase("WebSocket upgrade complete on socket ", "upgraded", "fd"),
        _CLOSED_BY_SERVER,
        _Phrase("Session did not complete a WebSocket upgrade", "stalled"),
        _Phrase("No new connection callback set, ", "refused"),
    ),
    "sendspin.conn_mgr": (
        _CLOSED_CALLBACK,
        _Phrase("Current connection lost", "lost"),
        _Phrase("Nursery connection lost", "lost"),
        _Phrase("Pending connection lost", "lost"),
        _Phrase("Nursery connection stalled at ", "stalled"),
        _Phrase("Nursery full of live connections, rejecting", "refused"),
        _Phrase("Already have pending connection, rejecting", "refused"),
        _Phrase("Hello message send failed", "send_failed"),
        _Phrase("Failed to queue hello message", "send_failed"),
    ),
    "sendspin.server_connection": (_Phrase("httpd_queue_work failed", "send_failed"),),
    "httpd_txrx": (
        _RECEIVE_FAILED,
        _Phrase("httpd_sock_err: error in send : ", "send_failed", "errno"),
    ),
    "httpd_ws": (
        _Phrase("httpd_ws_send_frame_async: Failed to send WS", "send_failed"),
        _Phrase("httpd_ws_get_frame_type: Failed to read header byte (socket FD invalid)", "lost"),
    ),
    "httpd": (
        _Phrase("httpd_queue_work: ctrl socket queue full", "send_failed"),
        _Phrase("httpd_accept_conn: error in accept (", "refused", "errno"),
    ),
}

SOCKET_TAGS = frozenset(_PHRASES)
"""The log tags that `SocketReader.read` knows."""


class SocketReader:
    """Follows one console. A close that two components report is one `closed`."""

    def __init__(self, board: str) -> None:
        self._board = board
        self._closed_fd: int | None = None

    def read(self, line: LogLine) -> SocketSeen | None:
        """The socket event of a line whose tag is one of `SOCKET_TAGS`, if it tells of one."""
        message = line.message or ""
        for phrase in _PHRASES[line.component or ""]:
            if message.startswith(phrase.start):
                return self._seen(phrase, message, line)
        return None

    def _seen(self, phrase: _Phrase, message: str, line: LogLine) -> SocketSeen | None:
        found = _NUMBER.match(message, len(phrase.start)) if phrase.number else None
        value = int(found[1]) if found else None
        fd = value if phrase.number == "fd" else None
        errno = value if phrase.number == "errno" else None
        if phrase is _CLOSED_CALLBACK and fd is not None and fd == self._closed_fd:
            self._closed_fd = None  # the server's line has told of it already
            return None
        if phrase is _CLOSED_BY_SERVER:
            self._closed_fd = fd
        elif phrase.op == "opened":
            self._closed_fd = None
        stalled = phrase is _RECEIVE_FAILED and errno == EAGAIN
        return SocketSeen(
            t=line.t,
            board=self._board,
            op="stalled" if stalled else phrase.op,
            line=line.line,
            fd=fd,
            device_ms=line.device_ms,
            errno=errno,
        )
