"""aiosendspin's own client as the device: the Noise generation, written by nobody here."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from rig.boards.plain import PlainBoard, PlainSettings
from rig.checks import Verdict, get_check
from rig.checks.stretch import Stretch, run_check
from rig.history import History
from rig.history import events as ev
from rig.link import Link
from rig.scenarios import Stage, get_scenario
from rig.scenarios.device import Device as Learned
from rig.scenarios.stage import Sockets
from rig.servers import ScriptedServer
from rig.servers.reference import ReferenceServer

pytestmark = pytest.mark.anyio


def verdict(record: Any, check: str) -> Verdict:
    return run_check(get_check(check), Stretch(History(record.store.path), 1)).verdict


async def test_the_scripted_server_hears_its_noise_opening(record: Any, link: Link) -> None:
    async with ScriptedServer(link) as server:
        connection = await server.open()
        assert connection.generation == "noise"
        assert connection.greeted == 0, "a sealed generation is not greeted in the clear"
    first = record.of(ev.Frame)[0]
    assert (first.sender, first.type) == ("device", "client/init")
    assert verdict(record, "opening_first") is Verdict.PASS
    assert verdict(record, "nothing_before_upgrade") is Verdict.PASS


async def test_it_ends_a_connection_that_greets_it_in_the_clear(record: Any, link: Link) -> None:
    async with ScriptedServer(link) as server:
        connection = await server.open()
        connection.greet()
        close = await connection.expect_frame("close", 10)
        assert close is not None
        assert close.close_code == 1000
    assert "client/hello" not in {frame.type for frame in record.of(ev.Frame)}


async def test_aiosendspin_serves_it_sealed_and_the_tap_sees_only_the_opening_in_the_clear(
    record: Any, link: Link, device: Any
) -> None:
    async with ReferenceServer(link) as server:
        assert await server.connect() == device.client.identity.peer_id
    clear = [frame.type for frame in record.of(ev.Frame) if frame.opcode == "text"]
    assert clear[:2] == ["client/init", "server/init"]
    assert "client/hello" not in clear
    assert "server/hello" not in clear
    assert verdict(record, "opening_first") is Verdict.PASS


async def test_each_server_is_another_one_to_it(record: Any, link: Link, device: Any) -> None:
    for _ in range(2):
        async with (
            Link(device.address, record.store.append, numbers=link.numbers) as way,
            ReferenceServer(way) as server,
        ):
            await server.connect()
    ids = [opened.server_id for opened in record.of(ev.ConnectionOpened)]
    assert len(set(ids)) == 2


async def test_a_tone_is_played_once_it_is_trusted(link: Link, device: Any) -> None:
    async with ReferenceServer(link) as server:
        await server.connect()
        assert server.encrypted
        await server.trust()
        server.play_tone()
        async with asyncio.timeout(20):
            _when, pcm, *_ = await device.heard.get()
    assert any(pcm)


async def test_the_baseline_scenario_finds_no_fault_in_its_openings(
    record: Any, link: Link, device: Any
) -> None:
    board = PlainBoard("aiosendspin", PlainSettings(address=str(device.address)))
    async with ScriptedServer(link) as server:
        learned = Learned(hello_delays=(0.01,), sessions=2)
        stage = Stage(board, server, record.store, learned, Sockets(), random.Random(1))
        await get_scenario("baseline").play(stage)
    opened = record.of(ev.ConnectionOpened)
    openings = [frame for frame in record.of(ev.Frame) if frame.type == "client/init"]
    assert len(openings) == len(opened) >= 4
    for check in ("opening_first", "nothing_before_upgrade", "greeted_in_time"):
        assert verdict(record, check) is Verdict.PASS, check
