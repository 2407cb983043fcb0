"""The faults are shown against the same device double as the link."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rig.faults import Target
from rig.link import Link
from rig.servers import ScriptedServer

_spec = importlib.util.spec_from_file_location(
    "link_doubles", Path(__file__).parents[1] / "link" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_doubles = importlib.util.module_from_spec(_spec)
sys.modules["link_doubles"] = _doubles
_spec.loader.exec_module(_doubles)

anyio_backend = _doubles.anyio_backend
record = _doubles.record
device = _doubles.device


class TalkingBoard:
    """A double of a board that is told to talk: it remembers how often."""

    name = "double"

    def __init__(self) -> None:
        self.asked = 0
        self.can_talk = True

    async def talk(self, count: int) -> bool:
        self.asked += count
        return self.can_talk


@dataclass(slots=True)
class Ground:
    """A link to the double, a server on it, and targets made of them."""

    server: ScriptedServer
    device: Any
    record: Any
    board: TalkingBoard
    swallow: frozenset[str]

    async def opened(self) -> tuple[Any, Any]:
        """A connection of the server's, and the double's end of it, upgraded."""
        connection = await self.server.connect()
        connection.ask_upgrade()
        there = await self.device.accept()
        await there.accept_upgrade()
        assert await connection.wait_upgrade() == 101
        return connection, there

    def target(self, connection: Any = None, **more: Any) -> Target:
        return Target(
            history=self.record.store,
            board=self.board,  # type: ignore[arg-type]
            server=self.server,
            connection=connection,
            swallow=self.swallow,
            **more,
        )


@pytest.fixture
def swallow() -> frozenset[str]:
    return frozenset()


@pytest.fixture
async def ground(device: Any, record: Any, swallow: frozenset[str]) -> AsyncIterator[Ground]:
    at_link = frozenset(name.replace("-", "_") for name in swallow)
    async with (
        Link(device.place, record.store.append, swallow=at_link) as link,
        ScriptedServer(link) as server,
    ):
        yield Ground(server, device, record, TalkingBoard(), swallow)
