"""What aiosendspin opens is joined to the wire's frames, and the device's end waits for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from rig.history import Entry
from rig.history.events import Frame
from rig.servers.unsealed import Unsealed

pytestmark = pytest.mark.anyio
CIPHER = bytes(range(40))
GOODBYE = b'\x00{"type":"client/goodbye","payload":{"reason":"another_server"}}'


class Told:
    """A line's record."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.line: Any = SimpleNamespace(record=self.record, defer_end=None)
        self.unsealed = Unsealed(self.line, lambda _entry: None)

    def record(self, event: Any) -> int:
        self.events.append(event.type)
        return len(self.events)

    def frame(self, sender: str = "device") -> None:
        head = CIPHER[:32].hex()
        frame = Frame(t=1, conn=1, sender=sender, opcode="binary", size=40, head=head)
        self.unsealed.take(Entry(7, frame))

    def ends(self) -> None:
        self.line.defer_end(lambda: self.events.append("the end"))


async def test_the_devices_end_comes_after_what_it_said_before_it() -> None:
    told = Told()
    told.frame()
    told.ends()
    assert told.events == []
    told.unsealed.heard("device", GOODBYE, CIPHER)
    assert told.events == ["client/goodbye", "the end"]


async def test_the_end_waits_for_nothing_where_all_is_opened() -> None:
    told = Told()
    told.unsealed.heard("device", GOODBYE, CIPHER)
    told.frame()
    told.ends()
    assert told.events == ["client/goodbye", "the end"]


async def test_the_end_does_not_wait_for_what_is_never_opened(monkeypatch) -> None:
    monkeypatch.setattr("rig.servers.unsealed.OPENED_WITHIN_S", 0.0)
    told = Told()
    told.frame()
    told.ends()
    while not told.events:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert told.events == ["the end"]
