"""The link to one device: dials it, or listens for a real server and dials for it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Container, Iterator
from functools import partial
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from rig.errors import ServerError
from rig.history import now_ns
from rig.history.events import ConnectionOpened, Note
from rig.link.door import Door
from rig.link.relay import Relay
from rig.link.storm import storm
from rig.link.stream import TcpStream
from rig.link.wire import Sink, Wire
from rig.protocol import new_key, upgrade_request

EPOCH_BASE_US: Final = 1_000_000_000_000_000
"""Epoch of connection 0: 31 years, so that no device's uptime can be taken for a server's clock."""
EPOCH_STEP_US: Final = 100_000_000_000
"""Between the clock epochs of two connections: 27 hours, so that none can be taken for another."""


class Endpoint(Protocol):
    """Where a device listens (`rig.boards.base.Address`)."""

    @property
    def host(self) -> str:
        """Name or address."""
        ...

    @property
    def port(self) -> int:
        """TCP port."""
        ...

    @property
    def path(self) -> str:
        """Path of the WebSocket."""
        ...


class Link:
    """The path to the device at `endpoint`; an async context manager that closes what it opened.

    `numbers` gives each connection its number: share one over a run. `swallow` holds the names of
    faults that are to miss (`*`: all), to test the rig itself.
    """

    inbound = False
    """Whether the device dials (`rig.link.reception`)."""

    def __init__(
        self,
        endpoint: Endpoint,
        sink: Sink,
        *,
        board: str = "board",
        numbers: Iterator[int] | None = None,
        swallow: Container[str] = (),
    ) -> None:
        """Nothing is dialled yet. `sink` records events (`HistoryStore.append`)."""
        self.endpoint = endpoint
        self.board = board
        self.numbers = itertools.count(1) if numbers is None else numbers
        self.swallow = swallow
        self.wires: dict[int, Wire] = {}
        """Wires that are open, by number."""
        self.relays: dict[int, Relay] = {}
        """Relayed connections that are open, by number."""
        self.on_relay: Callable[[Relay], None] | None = None
        """Called with every new relayed connection, before a byte has passed."""
        self.record = sink
        self._listener: socket.socket | None = None
        self._joining: set[asyncio.Task[None]] = set()

    async def dial(
        self,
        *,
        server_id: str | None = None,
        epoch_us: int | None = None,
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        local_port: int | None = None,
        clock_us: Callable[[], int] | None = None,
        via: Literal["link", "direct"] = "direct",
    ) -> Wire:
        """Open a TCP connection to the device; nothing is sent on it.

        `server_id` and `epoch_us` (us) are recorded with it; by default they are unlike any other
        connection's; `clock_us` reads the epoch from a clock that runs already. `receive_buffer`
        in bytes makes the window small from the start (see `Wire.closed_window`), `local_port` is
        the one to dial from. Call `start` on the result once its callbacks are set. Raises
        `ServerError` when the device does not accept within `timeout` seconds.
        """
        sock = await _connect(self.endpoint, timeout, receive_buffer, local_port)
        return self._wire(sock, server_id, clock_us() if clock_us else epoch_us, via)

    def _wire(
        self,
        sock: socket.socket,
        server_id: str | None,
        epoch_us: int | None,
        via: Literal["link", "direct"],
    ) -> Wire:
        """Number a connection, record it and put the tap on it."""
        try:
            local, peer = _text(sock.getsockname()), _text(sock.getpeername())
        except OSError as error:  # reset already, by a device that crashed just now
            sock.close()
            raise ServerError(
                f"the device ended the connection as soon as it had accepted it: {error.strerror}",
                hint="see the serial log of the run",
            ) from error
        conn = next(self.numbers)
        t = now_ns()
        opened = ConnectionOpened(
            t=t,
            conn=conn,
            board=self.board,
            server_id=f"rig-{conn}" if server_id is None else server_id,
            epoch_us=EPOCH_BASE_US + conn * EPOCH_STEP_US if epoch_us is None else epoch_us,
            local=local,
            peer=peer,
            via=via,
            dialled_by="device" if self.inbound else "server",
        )
        wire = Wire(sock, opened, self.record, self.swallow)
        self.wires[conn] = wire
        wire.on_end_of_life = lambda: self.wires.pop(conn, None)
        return wire

    async def tcp_without_upgrade(self, *, timeout: float = 5.0) -> Wire:
        """A connection that never asks for the upgrade."""
        wire = await self.dial(timeout=timeout)
        wire.start()
        return wire

    async def upgrade_without_hello(self, *, timeout: float = 5.0) -> Wire:
        """A connection that asks for the upgrade and never greets."""
        wire = await self.tcp_without_upgrade(timeout=timeout)
        wire.send(self.request())
        return wire

    async def storm(self, n: int, seed: int) -> int:
        """Play the storm `seed` of `n` connections; how many the device let in is returned."""
        if "storm" in self.swallow or "*" in self.swallow:
            return 0
        return await storm(self, n, seed)

    def request(self) -> bytes:
        """A sound upgrade request for this device."""
        host = f"{self.endpoint.host}:{self.endpoint.port}"
        return upgrade_request(host, self.endpoint.path, new_key())

    # -- in front of a real server ----------------------------------------------------------

    async def listen(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        server_id: str = "reference",
        clock_us: Callable[[], int] | None = None,
    ) -> str:
        """Listen, and dial the device for each connection that comes; the local URL is returned.

        `server_id` is recorded with each, and what `clock_us` (us) shows by then. Port 0 takes a
        free one. Raises `ServerError` when the port is in use.
        """
        if self._listener is not None:
            raise ServerError(
                f"the link to {self.board} listens already",
                hint="use one link per reference server",
            )
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise ServerError(
                f"the link cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}",
                hint="choose another port, or 0 for a free one",
            ) from error
        listener.listen(64)
        listener.setblocking(False)
        self._listener = listener

        def accept() -> None:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # it gave up while it waited in the backlog
            task = asyncio.ensure_future(self._join(sock, server_id, clock_us))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

        asyncio.get_running_loop().add_reader(listener, accept)
        return f"ws://{_text(listener.getsockname())}{self.endpoint.path}"

    async def _join(
        self, sock: socket.socket, server_id: str, clock_us: Callable[[], int] | None
    ) -> None:
        server = TcpStream(sock)
        try:
            wire = await self.dial(server_id=server_id, clock_us=clock_us, via="link")
        except ServerError as error:
            server.reset()
            self.record(Note(t=now_ns(), text=f"the link turned a server away: {error.message}"))
            return
        except asyncio.CancelledError:
            server.reset()
            raise
        relay = Relay(server, wire)
        self.joined(relay)
        if self.on_relay is not None:
            self.on_relay(relay)
        relay.start()

    def joined(self, relay: Relay) -> None:
        """Keep count of a relay until both its sides are over."""
        self.relays[relay.wire.conn] = relay
        relay.on_over = partial(self._relay_over, relay.wire.conn)

    async def door(
        self,
        *,
        server_id: str,
        epoch_us: int | None = None,
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        local_port: int | None = None,
        clock_us: Callable[[], int] | None = None,
    ) -> Door:
        """Dial the device for one connection of a real server, which then connects to the door.

        As `dial`, with which it shares its errors: the server sees a device that has accepted.
        """
        wire = await self.dial(
            server_id=server_id,
            epoch_us=epoch_us,
            timeout=timeout,
            receive_buffer=receive_buffer,
            local_port=local_port,
            clock_us=clock_us,
            via="link",
        )
        return Door(wire, self)

    def _relay_over(self, conn: int) -> None:
        self.relays.pop(conn, None)

    # -- the end ----------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop listening and close every connection."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for task in tuple(self._joining):
            task.cancel()
        await asyncio.gather(*self._joining, return_exceptions=True)
        for relay in tuple(self.relays.values()):
            relay.close()
        for wire in tuple(self.wires.values()):
            wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.aclose()


async def _connect(
    endpoint: Endpoint, timeout: float, receive_buffer: int | None, local_port: int | None
) -> socket.socket:
    where = f"{endpoint.host} port {endpoint.port}"
    try:
        async with asyncio.timeout(timeout):
            return await _open(endpoint, receive_buffer, local_port)
    except TimeoutError as error:
        raise ServerError(
            f"the device at {where} did not accept a connection within {timeout:g} s",
            hint="is it on, has it joined the network, is its number of sessions used up?",
        ) from error
    except socket.gaierror as error:
        raise ServerError(
            f"the device's address {endpoint.host} cannot be resolved: {error.strerror}",
            hint="give its IP address in the bench file",
        ) from error
    except OSError as error:
        raise ServerError(
            f"the device at {where} cannot be reached: {os.strerror(error.errno or 0)}",
            hint="has it booted, and does its Sendspin endpoint listen on this port?",
        ) from error


async def _open(
    endpoint: Endpoint, receive_buffer: int | None, local_port: int | None
) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except socket.gaierror:
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, target = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if receive_buffer is not None:
            # The kernel doubles what it is asked for (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer // 2)
        if local_port is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", local_port))
        await loop.sock_connect(sock, target)
    except (OSError, asyncio.CancelledError):
        sock.close()
        raise
    return sock


def _text(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
