"""A history and a device double for the link's tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rig.history import Event, HistoryStore
from rig.link import Link
from rig.protocol.handshake import HEAD_END, header, upgrade_answer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a double listens."""

    host: str
    port: int
    path: str = "/sendspin"


class Record:
    """A real history store whose events a test can look at."""

    def __init__(self, store: HistoryStore) -> None:
        self.store = store
        self.events: list[Event] = []
        store.listen(lambda entry: self.events.append(entry.event))

    def of[E: Event](self, kind: type[E], where: Callable[[E], bool] = lambda _: True) -> list[E]:
        return [event for event in self.events if isinstance(event, kind) and where(event)]

    async def wait[E: Event](
        self, kind: type[E], where: Callable[[E], bool] = lambda _: True, timeout: float = 10.0
    ) -> E:
        """The first event of a kind, whether it came already or comes in time."""
        with self.store.watch() as watch:
            if found := self.of(kind, where):
                return found[0]
            arrived = await watch.next(kind, timeout=timeout, where=where)
        assert arrived is not None, f"no {kind.tag} within {timeout} s: {self.events}"
        return arrived[1]


class DoubleSocket:
    """The double's end of one connection: nothing happens on it but what the test does."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), 10)

    async def recv(self, size: int = 65_536, timeout: float = 10.0) -> bytes:
        """What comes next; `b""` is a FIN. Raises `ConnectionResetError` for a RST."""
        return await asyncio.wait_for(
            asyncio.get_running_loop().sock_recv(self.sock, size), timeout
        )

    async def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await self.recv(size - len(data))
            assert more, f"ended after {len(data)} of {size} bytes"
            data += more
        return data

    async def head(self) -> bytes:
        data = b""
        while not data.endswith(HEAD_END):
            data += await self.exactly(1)
        return data

    async def accept_upgrade(self) -> None:
        key = header(await self.head(), "Sec-WebSocket-Key")
        assert key is not None
        await self.send(upgrade_answer(key))

    async def ending(self) -> str:
        """How the other end ends the connection: `fin` or `reset`; what comes before is dropped."""
        try:
            while await self.recv():
                pass
        except ConnectionResetError:
            return "reset"
        return "fin"

    async def until(self, kernel_says: Callable[[], object]) -> None:
        """Wait for what the kernel wakes no one for."""
        async with asyncio.timeout(10):
            while not kernel_says():  # noqa: ASYNC110
                await asyncio.sleep(0)

    def quiet(self) -> bool:
        """Whether nothing has come."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False


class DeviceDouble:
    """A listening socket on loopback, in place of a device (a double: it has no behaviour)."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.listener.setblocking(False)
        self.place = Place("127.0.0.1", self.listener.getsockname()[1])
        self.sockets: list[DoubleSocket] = []

    async def accept(self) -> DoubleSocket:
        sock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(self.listener), 10)
        self.sockets.append(DoubleSocket(sock))
        return self.sockets[-1]

    def close(self) -> None:
        self.listener.close()
        for each in self.sockets:
            each.sock.close()


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    with HistoryStore(tmp_path / "history.jsonl") as store:
        yield Record(store)


@pytest.fixture
async def device(anyio_backend: str) -> AsyncIterator[DeviceDouble]:
    double = DeviceDouble()
    yield double
    double.close()


@pytest.fixture
async def link(device: DeviceDouble, record: Record) -> AsyncIterator[Link]:
    async with Link(device.place, record.store.append) as link:
        yield link
