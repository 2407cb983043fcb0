"""lwIP's sockets as an ESP-IDF application sees them, over the sockets of this host.

What differs from the host's: the numbers, the error codes, blocking with a time-out, and that after
a reset the next `recv` reports it, whatever a `send` reported before (lwIP posts the error to the
receive mailbox: `err_tcp` in api_msg.c).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

EAGAIN = 11
ECONNRESET = 104
ENOTCONN = 128

FIRST_SOCKET = 54
"""`LWIP_SOCKET_OFFSET`: 64 - CONFIG_LWIP_MAX_SOCKETS (10)."""
WAIT = 5.0
"""The server's `recv_wait_timeout` and `send_wait_timeout`, seconds."""
SEND_BUFFER = 2880
"""Asked of the host, which doubles it: 5,760 bytes, lwIP's TCP_SND_BUF of 4 segments."""


class SocketError(Exception):
    """A socket call failed; `errno` is lwIP's number."""

    def __init__(self, errno: int) -> None:
        super().__init__(f"errno {errno}")
        self.errno = errno


def resolve(future: asyncio.Future[None]) -> None:
    """End the wait for `future`, unless it has ended."""
    if not future.done():
        future.set_result(None)


class Socket:
    """A connected socket."""

    def __init__(self, host: socket.socket) -> None:
        self.host = host
        self._reset = False
        self._told = False
        host.setblocking(False)
        host.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def recv(self, size: int) -> bytes:
        """At most `size` bytes, none at the end of the stream; waits `WAIT` seconds for them.

        Raises `SocketError`: EAGAIN (time-out), ECONNRESET (once), ENOTCONN (after that).
        """
        while True:
            try:
                data = self.host.recv(size)
            except BlockingIOError:
                await self._wait(asyncio.get_running_loop().add_reader)
                continue
            except OSError:
                self._reset = True
                data = b""
            if data or not self._reset:
                return data
            first, self._told = not self._told, True
            raise SocketError(ECONNRESET if first else ENOTCONN)

    async def send(self, data: bytes) -> None:
        """Send `data`; only part of it, without error, when the window stays closed for `WAIT`.

        Raises `SocketError`: EAGAIN (nothing was sent), ECONNRESET (once), ENOTCONN (after that).
        """
        sent = 0
        while sent < len(data):
            try:
                sent += self.host.send(data[sent:])
            except BlockingIOError:
                try:
                    await self._wait(asyncio.get_running_loop().add_writer)
                except SocketError:
                    if sent:
                        break
                    raise
            except OSError as error:
                first, self._reset = not self._reset, True
                raise SocketError(ECONNRESET if first else ENOTCONN) from error

    async def _wait(self, add: Callable[..., None]) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        remove = loop.remove_reader if add == loop.add_reader else loop.remove_writer
        add(self.host, resolve, ready)
        try:
            async with asyncio.timeout(WAIT):
                await ready
        except TimeoutError as error:
            raise SocketError(EAGAIN) from error
        finally:
            remove(self.host)

    def fileno(self) -> int:
        """The host's descriptor."""
        return self.host.fileno()

    def close(self) -> None:
        """`shutdown(SHUT_RD)` and `close`: the peer sees FIN, or RST if not all was read."""
        try:
            self.host.shutdown(socket.SHUT_RD)
        except OSError:  # reset by the peer: there is nothing left to shut down
            pass
        self.host.close()
