"""aiosendspin's own client as the device: the Noise generation, written by nobody here."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rig.boards.plain import PlainBoard, PlainSettings
from rig.checks import Verdict, get_check
from rig.checks.stretch import Stretch, run_check
from rig.errors import ServerError
from rig.history import History
from rig.history import events as ev
from rig.link import Link
from rig.protocol.sealed import b64url
from rig.scenarios import Stage, get_scenario
from rig.scenarios.device import Device as Learned
from rig.scenarios.stage import Sockets
from rig.servers import ScriptedServer
from rig.servers.audio import Tone
from rig.servers.reference import ReferenceServer
from rig.servers.vault import PAIRS, open_vault

pytestmark = pytest.mark.anyio


def verdict(record: Any, check: str) -> Verdict:
    return run_check(get_check(check), Stretch(History(record.store.path), 1)).verdict


async def test_the_scripted_server_opens_it_in_order_and_records_what_is_sealed(
    record: Any, link: Link
) -> None:
    async with ScriptedServer(link) as server:
        connection = await server.open()
        assert connection.generation == "noise"
        state = await connection.expect("client/state")
        assert state is not None
        pings = record.of(ev.Frame)
    clear = [frame.type for frame in pings if frame.opcode == "text" and frame.sealed is None]
    assert clear == ["client/init", "server/init", "noise/handshake", "noise/handshake"]
    sealed = [frame.type for frame in pings if frame.sealed is not None]
    assert sealed[:4] == ["server/hello", "client/hello", "server/activate", "client/state"]
    for frame in pings:
        if frame.sealed is not None:
            carrier = record.events[frame.sealed - 1]
            assert (carrier.opcode, carrier.sender) == ("binary", frame.sender)
            assert carrier.type is None
    for check in ("opening_first", "noise_opening_order", "noise_seals_open", "state_first"):
        assert verdict(record, check) is Verdict.PASS, check


async def test_no_key_of_the_channel_is_in_the_history(record: Any, link: Link) -> None:
    async with ScriptedServer(link) as server:
        connection = await server.open()
        channel = connection._sealing._channel
        await connection.expect("client/state")
    written = record.store.path.read_bytes()
    assert channel.server_id.encode() in written
    for form in (channel._private, channel._private.hex().encode(), b64url(channel._private)):
        assert (form if isinstance(form, bytes) else form.encode()) not in written


async def test_clear_text_after_the_handshake_ends_the_connection(record: Any, link: Link) -> None:
    async with ScriptedServer(link) as server:
        connection = await server.open()
        connection.send_text(b'{"type":"server/state","payload":{}}')
        assert await connection.wait_closed(10) is not None


async def test_it_plays_what_the_scripted_server_seals(link: Link, device: Any) -> None:
    async with ScriptedServer(link) as server:
        connection = await server.open(connection_reason="playback")
        await connection.expect("client/state")
        player = {"codec": "pcm", "sample_rate": 48000, "channels": 2, "bit_depth": 16}
        times = 0
        while times < 8 and await connection.expect("client/time", 5):
            times += 1
        connection.send("stream/start", {"player": player, "server_transmitted": 0})
        for number in range(100):
            due = connection.clock_us() + 300_000 + number * 20_000
            connection.send_audio(due, b"\1\0\2\0" * 960)
        async with asyncio.timeout(10):
            _when, pcm, *_ = await device.heard.get()
    assert any(pcm)


async def test_aiosendspin_serves_it_sealed_and_what_it_seals_is_recorded(
    record: Any, link: Link, device: Any
) -> None:
    async with ReferenceServer(link) as server:
        assert await server.connect() == device.client.identity.peer_id
    frames = record.of(ev.Frame)
    clear = [frame.type for frame in frames if frame.opcode == "text" and frame.sealed is None]
    assert clear == ["client/init", "server/init", "noise/handshake", "noise/handshake"]
    inside = [frame for frame in frames if frame.sealed is not None]
    assert [frame.type for frame in inside][:3] == [
        "server/hello",
        "client/hello",
        "server/activate",
    ]
    for frame in inside:
        carrier = record.events[frame.sealed - 1]
        assert (carrier.opcode, carrier.sender, carrier.conn) == (
            "binary",
            frame.sender,
            frame.conn,
        )
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
        await server.performer().play(Tone())
        async with asyncio.timeout(20):
            _when, pcm, *_ = await device.heard.get()
    assert any(pcm)


async def printed(device: Any, code: str) -> None:
    """Give the device a code that is printed on it."""
    store = device.client.pairing_store
    await store.set_static_pairing_code(code)
    config = await store.get_pairing_config()
    await store.store_pairing_config(replace(config, static_pairing_code_enabled=True))


async def test_pairing_by_the_code_on_it_is_kept_for_the_next_time(
    record: Any, link: Link, device: Any, tmp_path: Path
) -> None:
    code = "12345678"
    await printed(device, code)
    vault = await open_vault(tmp_path / "vault")

    async def ask() -> str:
        return code

    async with ReferenceServer(link, vault=vault) as server:
        await server.connect()
        assert not server.paired
        device.client.open_pairing_window()
        await server.pair(ask)
        assert server.paired
    async with (
        Link(device.address, record.store.append, numbers=link.numbers) as way,
        ReferenceServer(way, vault=await open_vault(tmp_path / "vault")) as server,
    ):
        await server.connect()
        assert server.paired
    secrets = json.loads((tmp_path / "vault" / PAIRS).read_text())["records"]
    keys = [record["psk"] for record in secrets.values()]
    assert keys
    told = record.store.path.read_text()
    assert not any(key in told for key in [code, *keys])


async def test_a_wrong_code_is_an_error_that_says_so(link: Link, device: Any) -> None:
    await printed(device, "12345678")

    async def ask() -> str:
        return "87654321"

    async with ReferenceServer(link) as server:
        await server.connect()
        device.client.open_pairing_window()
        with pytest.raises(ServerError, match="could not be paired") as told:
            await server.pair(ask)
    assert "not_supported" not in told.value.message


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
