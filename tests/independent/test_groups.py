"""Two of aiosendspin's players in one group, with a controller: they are real devices."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiosendspin.client import ClientListener
from aiosendspin.models.types import MediaCommand

from rig.checks import Verdict, get_check
from rig.checks.stretch import run_check
from rig.commands.desk import Desk
from rig.errors import ServerError
from rig.history import History
from rig.history import events as ev
from rig.link import Link
from rig.servers.audio import Tone
from rig.servers.reference import ReferenceServer

from .conftest import Device

pytestmark = pytest.mark.anyio


@pytest.fixture
async def two(anyio_backend: str, record: Any) -> AsyncIterator[tuple[Any, list[Device]]]:
    """The server with `left` and `right` in one group, and both players."""
    async with AsyncExitStack() as stack:
        links, devices = [], []
        for name in ("left", "right"):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            device = Device(port, controller=True)
            await device.client.set_unpaired_access(enabled=True)
            listener = ClientListener(
                name, device.serve, port=port, host="127.0.0.1", advertise_mdns=False
            )
            await listener.start()
            stack.push_async_callback(listener.stop)
            stack.push_async_callback(device.client.disconnect)
            numbers = links[0].numbers if links else None
            link = Link(device.address, record.store.append, board=name, numbers=numbers)
            links.append(await stack.enter_async_context(link))
            devices.append(device)
        server = await stack.enter_async_context(ReferenceServer(*links))
        await server.connect()
        await server.trust()
        yield server, devices


async def hears(device: Device) -> None:
    """Wait until it is played to from now on."""
    while not device.heard.empty():
        device.heard.get_nowait()
    async with asyncio.timeout(20):
        await device.heard.get()


async def told(record: Any, where: Any) -> None:
    async with asyncio.timeout(20):
        while not any(where(frame) for frame in record.of(ev.Frame)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_both_play_and_when_one_leaves_the_other_plays_on(two: Any) -> None:
    server, (left, right) = two
    assert server.groups() == [["left", "right"]]
    await server.performer().play(Tone())
    await hears(left)
    await hears(right)
    await server.leave("right")
    assert server.groups() == [["left"], ["right"]]
    await hears(left)
    while not right.heard.empty():
        right.heard.get_nowait()
    await hears(left)
    assert right.heard.empty()
    await server.join("right")
    assert server.groups() == [["left", "right"]]
    await hears(right)


async def test_a_board_that_is_not_there_is_named(two: Any) -> None:
    server, _ = two
    with pytest.raises(ServerError, match="no board 'attic' is connected"):
        await server.leave("attic")


async def test_a_devices_controller_is_heeded_and_judged(two: Any, record: Any) -> None:
    server, (left, right) = two
    server.performer().metadata("Song", "Band")
    await server.performer().play(Tone())
    await hears(left)
    await left.client.send_group_command(MediaCommand.PAUSE)  # the next is not to overtake it
    await left.client.send_group_command(MediaCommand.PLAY)
    await left.client.send_group_command(MediaCommand.NEXT)
    await told(record, lambda f: "Song #2" in (f.text or ""))
    await left.client.send_group_command(MediaCommand.SHUFFLE)
    await told(record, lambda f: '"shuffle":true' in (f.text or ""))
    await right.client.send_group_command(MediaCommand.VOLUME, volume=23)
    await told(record, lambda f: '"command":"volume","volume":23' in (f.text or ""))
    await told(record, lambda f: f.type == "client/state" and '"volume":23' in (f.text or ""))
    await told(record, lambda f: f.type == "server/state" and '"volume":23' in (f.text or ""))
    judged = run_check(get_check("controls_heeded"), History(record.store.path))
    assert judged.verdict is Verdict.PASS, judged
    assert judged.message.startswith("4 commands")


async def test_another_track_keeps_the_title_and_the_length_that_were_told(
    two: Any, record: Any
) -> None:
    server, _ = two
    server.performer().metadata("Symphony #5", "Band", seconds=90)
    await server.performer().skip(1)
    await server.performer().skip(1)
    await told(record, lambda f: "Symphony #5 #3" in (f.text or ""))
    lengths = [f.text for f in record.of(ev.Frame) if "track_duration" in (f.text or "")]
    assert lengths
    assert all('"track_duration":90000' in str(text) for text in lengths)


async def test_what_is_typed_is_done(two: Any, record: Any) -> None:
    server, (left, _) = two
    left_, desk = asyncio.Event(), None
    desk = Desk(server, left_)
    await server.performer().play(Tone())
    await hears(left)
    assert await desk.do("volume 9") is None
    await told(record, lambda f: '"volume":9' in (f.text or ""))
    assert await desk.do("leave right") == "groups: left; right"
    assert await desk.do("join right") == "groups: left and right"
    assert await desk.do("pause") is None
    assert await desk.do("play") is None
    await hears(left)
    for junk in ("volume 101", "volume x", "sing", "leave", "play it"):
        assert "leave BOARD" in str(await desk.do(junk))
    assert await desk.do("") is None
    assert await desk.do("quit") is None
    assert left_.is_set()
