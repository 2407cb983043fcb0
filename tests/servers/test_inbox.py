"""What a connection brought, awaited."""

from __future__ import annotations

import asyncio

import pytest

from rig.history import Entry
from rig.history.events import ConnectionClosed, Frame, TcpFin, UpgradeAnswered
from rig.servers.inbox import BOUND, Inbox

pytestmark = pytest.mark.anyio


def frame(kind: str, n: int = 1) -> Entry:
    return Entry(n, Frame(t=0, conn=1, sender="device", opcode="text", size=1, type=kind))


async def test_what_came_before_the_wait_is_found() -> None:
    inbox = Inbox()
    inbox.put(frame("a"))
    assert await inbox.next(Frame, timeout=0) is not None


async def test_what_is_taken_is_gone_with_all_before_it() -> None:
    inbox = Inbox()
    inbox.put(frame("a"))
    inbox.put(frame("b"))
    assert await inbox.next(Frame, timeout=0, where=lambda event: event.type == "b") is not None
    assert await inbox.next(Frame, timeout=0) is None


async def test_what_does_not_match_stays_while_nothing_does() -> None:
    inbox = Inbox()
    inbox.put(frame("a"))
    assert await inbox.next(TcpFin, timeout=0) is None
    assert await inbox.next(Frame, timeout=0) is not None


async def test_a_wait_ends_with_what_arrives() -> None:
    inbox = Inbox()
    waiting = asyncio.ensure_future(inbox.next(UpgradeAnswered, timeout=600))
    await asyncio.sleep(0)
    inbox.put(frame("a"))
    inbox.put(Entry(2, UpgradeAnswered(t=0, conn=1, status=101)))
    answer = await asyncio.wait_for(waiting, 10)
    assert answer is not None
    assert answer.status == 101


async def test_two_waits_at_once_are_both_served() -> None:
    inbox = Inbox()
    waits = [asyncio.ensure_future(inbox.next(Frame, timeout=600)) for _ in range(2)]
    await asyncio.sleep(0)
    inbox.put(frame("a"))
    inbox.put(frame("b"))
    found = await asyncio.wait_for(asyncio.gather(*waits), 10)
    assert {event.type for event in found if event} == {"a", "b"}


async def test_a_wait_ends_when_the_connection_is_closed() -> None:
    inbox = Inbox()
    waiting = asyncio.ensure_future(inbox.next(Frame, timeout=600))
    await asyncio.sleep(0)
    inbox.put(Entry(2, ConnectionClosed(t=0, conn=1)))
    assert await asyncio.wait_for(waiting, 10) is None


async def test_it_keeps_the_newest_within_its_bound() -> None:
    inbox = Inbox()
    for n in range(BOUND + 5):
        inbox.put(frame(str(n)))
    first = inbox.take(Frame)
    assert first is not None
    assert first.type == "5"
