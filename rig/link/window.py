"""The closed window: the device may send no more, and its own sends come to a stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from rig.link.stream import TcpStream

_POLL: Final = 0.01
"""Seconds between looks at the window: nothing wakes a process when it closes."""


class Window:
    """Closes and reopens the receive window of `stream`.

    `on_closed(unread)` is called once a closing, when the kernel has offered a window of zero;
    `unread` is how many bytes wait. A reset that the peer sends meanwhile reopens it, so that it
    is read.
    """

    def __init__(self, stream: TcpStream, on_closed: Callable[[int], None]) -> None:
        """The window is left alone until `close`."""
        self.closed = False
        self._stream = stream
        self._on_closed = on_closed
        self._told = False
        self._size = 0
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Stop reading, and make the receive buffer as small as the kernel lets it be."""
        if self.closed or not self._stream.open:
            return
        self.closed = True
        self._told = False
        sock = self._stream.sock
        self._size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._stream.pause("window")
        self._look()

    def reopen(self) -> None:
        """Read again."""
        if not self.closed:
            return
        self.closed = False
        if self._stream.open:
            self._stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._size)
            self._stream.resume("window")

    def _look(self) -> None:
        if not self.closed or not self._stream.open:
            return
        if self._stream.dead:
            self.reopen()
            return
        unread = self._stream.unread
        if unread and not self._told and self._stream.window == 0:
            self._told = True
            self._on_closed(unread)
        self._loop.call_later(_POLL, self._look)
