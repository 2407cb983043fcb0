"""Storms: the same for the same seed, bounded, and over when they are over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rig.history.events import ConnectionClosed, ConnectionOpened
from rig.link import Link
from rig.link.storm import gusts

pytestmark = pytest.mark.anyio


def test_a_seed_is_a_storm_for_ever() -> None:
    assert list(gusts(50, 7)) == list(gusts(50, 7))
    assert list(gusts(50, 7)) != list(gusts(50, 8))


def test_a_storm_has_every_kind_of_gust() -> None:
    storm = list(gusts(200, 1))
    assert len({gust.reach for gust in storm}) == 4
    assert len({gust.said for gust in storm}) == 6
    assert len({gust.ending for gust in storm}) == 3


async def test_every_connection_of_a_storm_is_opened_and_closed(
    link: Link, device: Any, record: Any
) -> None:
    async def serve() -> None:
        while True:
            there = await device.accept()
            talking = asyncio.ensure_future(talk(there))
            talks.add(talking)

    async def talk(there: Any) -> None:
        try:
            await there.accept_upgrade()
            await there.ending()
        except (OSError, AssertionError):
            pass
        there.sock.close()

    talks: set[asyncio.Future[None]] = set()
    serving = asyncio.ensure_future(serve())
    let_in = await link.storm(25, seed=3)
    serving.cancel()
    await asyncio.gather(serving, *talks, return_exceptions=True)
    assert let_in == 25
    assert len(record.of(ConnectionOpened)) == len(record.of(ConnectionClosed)) == 25
    assert link.wires == {}


async def test_a_swallowed_storm_opens_nothing(link: Link, record: Any) -> None:
    link.swallow = {"storm"}
    assert await link.storm(5, seed=1) == 0
    assert record.events == []
