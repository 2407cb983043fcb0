"""The reference server in front of a device that misbehaves: a word for it, and it lives on."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rig.boards.base import Address
from rig.errors import ServerError
from rig.history import Event, HistoryStore
from rig.history import events as ev
from rig.link import Link
from rig.servers.reference import ReferenceServer

pytestmark = pytest.mark.anyio
DEVICE = Path(__file__).with_name("misbehaving.py")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def events(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[tuple[ReferenceServer, list[Event]]]:
    """The server in front of the device that misbehaves in the way of the parameter."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    device = await asyncio.create_subprocess_exec(sys.executable, DEVICE, f"{port}", request.param)
    seen: list[Event] = []
    try:
        await _listens(port)
        with HistoryStore(tmp_path / "history.jsonl") as store:
            store.listen(lambda entry: seen.append(entry.event))
            address = Address("127.0.0.1", port)
            async with (
                Link(address, store.append, board="bad") as link,
                ReferenceServer(link) as server,
            ):
                yield server, seen
    finally:
        device.kill()
        await device.wait()


async def _listens(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ("talks-first", "bad began with client/state .expected client/hello or client/init"),
        ("never-talks", "bad said nothing after the upgrade"),
        ("half-hello", "bad said nothing after the upgrade"),
        ("close-at-once", "bad began with a close frame"),
        ("no-http", "could not connect to bad: 400"),
        ("redirect", "answered the upgrade with 302, to 'ws://127.0.0.1:1/x': a redirect is not"),
    ],
    indirect=["events"],
)
async def test_one_that_is_never_served_is_one_clear_error(events: Any, words: str) -> None:
    server, _seen = events
    with pytest.raises(ServerError, match=words):
        await server.connect(timeout=3)


def wire_error(words: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, ev.WireError) and words in event.text


def warned(words: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, ev.ServerWarned) and words in event.text


@pytest.mark.parametrize(
    ("events", "named"),
    [
        ("huge", warned("WebSocket error")),
        ("bad-utf8", wire_error("a text message is not UTF-8")),
        ("wrong-types", warned("sent a malformed client/state")),
        ("unknown", warned("unknown message type client/dance")),
        ("bad-close", wire_error("a Close frame with the code 999")),
        ("deep", warned("not")),
        ("hello-flood", warned("sent a second client/hello")),
        ("pings", lambda event: isinstance(event, ev.Frame) and event.opcode == "pong"),
    ],
    indirect=["events"],
)
async def test_one_that_is_served_has_its_nonsense_named(events: Any, named: Any) -> None:
    server, seen = events
    await server.connect(timeout=20)
    async with asyncio.timeout(20):
        while not any(named(event) for event in seen):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    async with asyncio.timeout(20):  # it lives on: serves it still, or dials it again
        while not server.connected and len(_opened(seen)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _opened(seen: list[Event]) -> list[Event]:
    return [event for event in seen if isinstance(event, ev.ConnectionOpened)]
