"""A direction of the link as a queue."""

from __future__ import annotations

import asyncio

import pytest

from rig.link.shape import Shaper

pytestmark = pytest.mark.anyio


class Sink:
    def __init__(self) -> None:
        self.data = b""
        self.changed = asyncio.Event()

    def __call__(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    async def until(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            while self.data != data:
                self.changed.clear()
                await self.changed.wait()


async def test_an_unshaped_direction_passes_at_once() -> None:
    sink = Sink()
    Shaper().push(b"abc", sink)
    assert sink.data == b"abc"


async def test_a_held_direction_passes_nothing_until_it_is_let_go() -> None:
    shaper, sink = Shaper(), Sink()
    shaper.shape(held=True)
    shaper.push(b"a", sink)
    shaper.push(b"b", sink)
    assert (sink.data, shaper.queued) == (b"", 2)
    shaper.shape()
    assert (sink.data, shaper.queued, shaper.idle) == (b"ab", 0, True)


async def test_marks_keep_their_place_among_late_bytes() -> None:
    shaper, sink = Shaper(), Sink()
    shaper.shape(delay=0.01)
    shaper.push(b"a", sink)
    shaper.push(b"", lambda _: sink(b"|"))
    shaper.push(b"b", sink)
    await sink.until(b"a|b")


async def test_what_waited_is_told_with_its_size_and_time() -> None:
    shaper, sink = Shaper(), Sink()
    told: list[tuple[int, float]] = []
    shaper.on_passed = lambda size, seconds: told.append((size, seconds))
    shaper.shape(rate=1_000)
    shaper.push(bytes(30), sink)
    await sink.until(bytes(30))
    assert [size for size, _ in told] == [30]
    assert told[0][1] >= 0.015


async def test_what_waits_can_be_forgotten() -> None:
    shaper, sink = Shaper(), Sink()
    shaper.shape(delay=60)
    shaper.push(b"abc", sink)
    shaper.clear()
    assert (shaper.idle, shaper.queued, sink.data) == (True, 0, b"")
