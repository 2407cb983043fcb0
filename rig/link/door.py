"""A local port for one connection of a real server, in front of a wire that is up already."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from rig.errors import ServerError
from rig.link.gate import Gate
from rig.link.relay import Relay
from rig.link.stream import TcpStream
from rig.link.wire import Wire


class Joins(Protocol):
    """Keeps count of relays (`Link`)."""

    def joined(self, relay: Relay) -> None:
        """A new relay."""
        ...


class Door:
    """Where one real server may connect, to be joined with `wire` behind a closed `Gate`."""

    def __init__(self, wire: Wire, joins: Joins) -> None:
        """Listen on a free port of loopback."""
        self.wire = wire
        self.gate = Gate()
        self._joins = joins
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.setblocking(False)

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    async def join(self, timeout: float = 5.0) -> Relay:
        """Wait for the server to connect. The relay is not started: set its wire's callbacks first.

        Raises `ServerError` when it does not within `timeout` s. The door is shut after it.
        """
        try:
            async with asyncio.timeout(timeout):
                sock, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        except TimeoutError as error:
            raise ServerError(
                f"the reference server did not dial within {timeout:g} s",
                hint="the machine may be overloaded; its log says more",
            ) from error
        finally:
            self._listener.close()
        return self._joined(sock)

    async def join_to(self, port: int, timeout: float = 5.0) -> Relay:
        """Connect to a server that listens on this port of 127.0.0.1, for a device that dialled.

        As `join`.
        """
        self._listener.close()
        sock = socket.socket()
        sock.setblocking(False)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except (OSError, TimeoutError) as error:
            sock.close()
            raise ServerError(f"the reference server does not listen: {error}") from error
        return self._joined(sock)

    def _joined(self, sock: socket.socket) -> Relay:
        relay = Relay(TcpStream(sock), self.wire, self.gate)
        self._joins.joined(relay)
        return relay
