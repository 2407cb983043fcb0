"""A double of a Sendspin device, written with the `websockets` library, and a stage in front of it.

A double: it knows no sockets, mailboxes or main loop, so no bug of those can be in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from rig.boards.base import Address
from rig.history import Event, HistoryStore
from rig.link import Link
from rig.scenarios import Stage
from rig.scenarios.device import Device
from rig.scenarios.stage import Sockets
from rig.servers import ScriptedServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Speaker:
    """The double. `hello_delay` in s; with `greets` False it never opens; `room`: sessions.

    `clock_starts`: so many s after it was greeted it sends its client/time; None: never.
    """

    name = "double"

    def __init__(self) -> None:
        self.hello_delay = 0.0
        self.greets = True
        self.room = 4
        self.clock_starts: float | None = None
        self.can_talk = False
        self._first: ServerConnection | None = None
        self.open = 0

    async def serve(self, connection: ServerConnection) -> None:
        self.open += 1
        self._first = self._first or connection
        try:
            await asyncio.sleep(self.hello_delay)
            if self.greets:
                await self._say(connection, "client/hello", client_id="double", version=1)
            async for text in connection:
                kind = json.loads(text)["type"]
                if kind in ("server/hello", "server/command"):
                    await self._say(connection, "client/state", player={"volume": 1})
                if kind == "server/hello" and self.clock_starts is not None:
                    await asyncio.sleep(self.clock_starts)
                    await self._say(connection, "client/time", client_transmitted=1)
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1
            if self._first is connection:
                self._first = None

    async def talk(self, count: int) -> bool:
        """All but two of the states go out, as from a mailbox that is too small."""
        for _ in range(count - 2):
            if self._first is not None:
                await self._say(self._first, "client/state", player={"volume": 2})
        return self.can_talk

    async def _say(self, connection: ServerConnection, kind: str, **payload: Any) -> None:
        await connection.send(json.dumps({"type": kind, "payload": payload}))

    def refuse(self, connection: ServerConnection, _request: Any) -> Any:
        return None if self.open < self.room else connection.respond(503, "full")


class Played:
    """A stage in front of the double, and all that happened on it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.events: list[Event] = []
        stage.history.listen(lambda entry: self.events.append(entry.event))

    def of[E: Event](self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture
async def played(speaker: Speaker, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Played]:
    async with contextlib.AsyncExitStack() as stack:
        listening = await stack.enter_async_context(
            serve(speaker.serve, "127.0.0.1", 0, process_request=speaker.refuse)
        )
        port = next(iter(listening.sockets)).getsockname()[1]
        history = stack.enter_context(HistoryStore(tmp_path / "history.jsonl"))
        link = await stack.enter_async_context(Link(Address("127.0.0.1", port), history.append))
        server = await stack.enter_async_context(ScriptedServer(link))
        yield Played(
            Stage(
                board=speaker,  # type: ignore[arg-type]
                server=server,
                history=history,
                device=Device(turns=(0.001,)),
                sockets=Sockets(),
                rng=random.Random(1),
            )
        )
