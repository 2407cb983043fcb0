"""The link of a device that dials: it listens where the server is announced, and waits."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Self

from rig.errors import ServerError
from rig.link.link import Link
from rig.link.wire import Sink, Wire

PARKED: Final = 8
"""Connections of devices that wait to be taken; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the rig's server listens for devices that dial."""

    host: str
    port: int = 8927
    path: str = "/sendspin"


class Reception(Link):
    """Takes the connections of a device that dials to `endpoint` of this host.

    `dial` waits for the device's next connection. `peer`: only connections from this address are
    taken, any where it is None. `patience` (s): how long the device may take to dial again when it
    has no connection; its back-off decides.
    """

    inbound = True

    def __init__(
        self,
        endpoint: Listening,
        sink: Sink,
        *,
        board: str = "board",
        numbers: Iterator[int] | None = None,
        swallow: Container[str] = (),
        peer: str | None = None,
        patience: float = 30.0,
    ) -> None:
        """Nothing listens yet."""
        super().__init__(endpoint, sink, board=board, numbers=numbers, swallow=swallow)
        self.peer = peer
        self.patience = patience
        self._port: socket.socket | None = None
        self._parked: deque[socket.socket] = deque()
        self._came = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens. Raises `ServerError` when it does not."""
        if self._port is None:
            raise ServerError("nothing listens for the device", hint="enter the reception first")
        host, port = self._port.getsockname()[:2]
        return str(host), int(port)

    async def __aenter__(self) -> Self:
        """Listen. Raises `ServerError` when the port is taken."""
        if self._port is not None:
            return self
        family = socket.AF_INET6 if ":" in self.endpoint.host else socket.AF_INET
        port = socket.socket(family)
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            port.bind((self.endpoint.host, self.endpoint.port))
        except OSError as error:
            port.close()
            raise ServerError(
                f"cannot listen for {self.board} on {self.endpoint.host} port "
                f"{self.endpoint.port}: {os.strerror(error.errno or 0)}",
                hint="is another Sendspin server running here? Name another port in `dials`",
            ) from error
        port.listen(PARKED)
        port.setblocking(False)
        self._port = port
        asyncio.get_running_loop().add_reader(port, self._accept)
        return self

    def _accept(self) -> None:
        assert self._port is not None
        try:
            sock, peer = self._port.accept()
        except OSError:
            return  # it gave up while it waited in the backlog
        sock.setblocking(False)
        if self.peer is not None and peer[0] != self.peer:
            sock.close()
            return
        self._parked.append(sock)
        if len(self._parked) > PARKED:
            self._parked.popleft().close()
        self._came.set()

    async def dial(
        self,
        *,
        server_id: str | None = None,
        epoch_us: int | None = None,
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        local_port: int | None = None,  # noqa: ARG002 - the device chooses
        clock_us: Callable[[], int] | None = None,
        via: Literal["link", "direct"] = "direct",
    ) -> Wire:
        """Wait for the device's next connection: at most `timeout` s, or, while it has none, as
        long as its back-off may take (`patience`). Raises `ServerError`."""
        patience = timeout if self.wires else max(timeout, self.patience)
        sock = await self._next(patience)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer // 2)
        return self._wire(sock, server_id, clock_us() if clock_us else epoch_us, via)

    async def _next(self, patience: float) -> socket.socket:
        try:
            async with asyncio.timeout(patience):
                while True:
                    while self._parked:
                        sock = self._parked.popleft()
                        if not _given_up(sock):
                            return sock
                        sock.close()
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError as error:
            host, port = self.address
            raise ServerError(
                f"{self.board} did not dial {host} port {port} within {patience:g} s",
                hint="is it on, in this network, and does it look for a server "
                "(_sendspin-server._tcp)?",
            ) from error

    def request(self) -> bytes:
        """Nothing: the device asks."""
        return b""

    async def aclose(self) -> None:
        """Stop listening and close every connection."""
        if self._port is not None:
            asyncio.get_running_loop().remove_reader(self._port)
            self._port.close()
            self._port = None
        while self._parked:
            self._parked.popleft().close()
        await super().aclose()


def _given_up(sock: socket.socket) -> bool:
    """Whether the device ended a connection while it was parked."""
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
