"""aiosendspin serving the virtual board through the link."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from firmware_flasher.loading import load_bundle
from rig.boards.virtual.board import VirtualBoard, VirtualSettings
from rig.campaign.session import Session
from rig.checks import Verdict, get_check
from rig.checks.stretch import Stretch, run_check
from rig.errors import BenchError, ServerError
from rig.history import Event, History
from rig.history import events as ev
from rig.link import Link
from rig.protocol import encode_frame
from rig.servers.audio import Tone
from rig.servers.engine import TEXT_BOUND
from rig.servers.reference import ReferenceServer

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"


@pytest.fixture
async def session(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Session]:
    """A booted virtual board v0.7.0 in a home of its own, unplugged at the end."""
    board = VirtualBoard("virtual", VirtualSettings(home=tmp_path / "home", namespace=False))
    try:
        async with Session(board, tmp_path / "out") as session:
            await session.prepare(load_bundle(FIRMWARE / "v0.7.0"))
            yield session
    finally:
        await board.unplug()


def of[E: Event](session: Session, kind: type[E]) -> list[E]:
    return [entry.event for entry in History(session.history.path).only(kind)]


@pytest.mark.anyio
async def test_a_legacy_device_is_served_and_every_frame_is_tapped(session: Session) -> None:
    async with session.new_link() as link, ReferenceServer(link) as server:
        client_id = await server.connect()
        assert not server.encrypted
        with session.history.watch() as watch:
            server.set_volume(37)
            state = await watch.next(
                ev.Frame,
                timeout=10,
                where=lambda f: f.type == "client/state" and '"volume":37' in (f.text or ""),
            )
        assert state is not None
    frames = of(session, ev.Frame)
    first = frames[0]
    assert (first.sender, first.type) == ("device", "client/hello")
    assert first.message is not None
    assert first.message["payload"]["client_id"] == client_id
    assert {"server/hello", "server/command"} <= {f.type for f in frames if f.sender == "server"}
    assert of(session, ev.ConnectionOpened)[-1].server_id == server.server_id
    judged = run_check(get_check("opening_first"), Stretch(History(session.history.path), 1))
    assert judged.verdict is Verdict.PASS


@pytest.mark.anyio
async def test_a_compliance_warning_is_an_event_of_its_server_alone(session: Session) -> None:
    async with (
        session.new_link() as link,
        session.new_link() as idle,
        ReferenceServer(link) as server,
        ReferenceServer(idle),
    ):
        await server.connect()
    warned = [event for event in of(session, ev.ServerWarned) if event.compliance]
    assert any("unencrypted" in event.text for event in warned)
    assert {event.server_id for event in warned} == {server.server_id}
    assert all(len(event.text) <= TEXT_BOUND for event in warned)


@pytest.mark.anyio
async def test_a_tone_reaches_the_device_as_binary_frames(session: Session) -> None:
    async with session.new_link() as link, ReferenceServer(link) as server:
        await server.connect()
        with session.history.watch() as watch:
            await server.performer().play(Tone())
            for _ in range(5):
                chunk = await watch.next(
                    ev.Frame,
                    timeout=20,
                    where=lambda f: f.sender == "server" and f.opcode == "binary",
                )
                assert chunk is not None
                assert chunk[1].size > 13
        await server.stop()
        assert server.connected


@pytest.mark.anyio
async def test_audio_has_no_gaps(session: Session) -> None:
    async with session.new_link() as link, ReferenceServer(link) as server:
        await server.connect()
        times = []
        with session.history.watch() as watch:
            await server.performer().play(Tone(440, hiss=True))
            while len(times) < 12:
                chunk = await watch.next(
                    ev.Frame,
                    timeout=20,
                    where=lambda f: f.sender == "server" and f.opcode == "binary",
                )
                assert chunk is not None
                times.append(int.from_bytes(bytes.fromhex(chunk[1].head)[1:9], "big"))
    steps = [b - a for a, b in pairwise(times)]
    assert max(steps) - min(steps) <= 2, "us: each chunk begins where the last one ended"


@pytest.mark.anyio
async def test_two_boards_play_in_one_group(session: Session, tmp_path: Path) -> None:
    other = VirtualBoard("attic", VirtualSettings(number=2, home=tmp_path / "b", namespace=False))
    try:
        async with Session(other, tmp_path / "out2") as attic:
            await attic.prepare(load_bundle(FIRMWARE / "v0.7.0"))
            async with (
                session.new_link() as link,
                attic.new_link() as way,
                ReferenceServer(link, way) as server,
            ):
                await server.connect()
                with attic.history.watch() as watch:
                    await server.performer().play(Tone())
                    assert await watch.next(
                        ev.Frame, timeout=20, where=lambda f: f.opcode == "binary"
                    )
                server.set_volume(23)
                with session.history.watch() as watch:
                    assert await watch.next(
                        ev.Frame, timeout=20, where=lambda f: f.opcode == "binary"
                    )
            groups = [
                {f.message["payload"]["group_id"] for f in of(each, ev.Frame) if is_playing(f)}
                for each in (session, attic)
            ]
            assert groups[0] == groups[1]
            assert len(groups[0]) == 1
    finally:
        await other.unplug()


def is_playing(frame: ev.Frame) -> bool:
    return frame.type == "group/update" and '"playing"' in (frame.text or "")


@pytest.mark.anyio
async def test_a_dropped_connection_is_dialled_again_at_once(session: Session) -> None:
    async with session.new_link() as link, ReferenceServer(link) as server:
        await server.connect()
        with session.history.watch() as watch:
            next(iter(link.wires.values())).rst()
            assert await watch.next(ev.ConnectionClosed, timeout=10) is not None
        assert await server.disconnected(10)
        await server.connect()
    assert len(of(session, ev.ConnectionOpened)) == 2


@pytest.mark.anyio
async def test_a_device_that_is_not_there_is_named(record, device) -> None:
    place = device.place
    device.close()
    link = Link(place, record.store.append, board="kitchen")
    async with link, ReferenceServer(link) as server:
        with pytest.raises(ServerError, match="kitchen"):
            await server.connect(timeout=10)
        with pytest.raises(ServerError, match="not connected"):
            server.set_volume(3)


@pytest.mark.anyio
async def test_two_boards_that_say_the_same_client_id_are_not_called_silent(record, device) -> None:
    place = device.place

    ends = []

    async def open_both() -> None:
        payload = {"client_id": "twin", "name": "t", "version": 1, "supported_roles": []}
        hello = json.dumps({"type": "client/hello", "payload": payload}).encode()
        for _ in range(2):
            end = await device.accept()
            ends.append(end)
            await end.accept_upgrade()
            await end.send(encode_frame("text", hello))

    one = Link(place, record.store.append, board="left")
    other = Link(place, record.store.append, board="right", numbers=one.numbers)
    async with one, other, ReferenceServer(one, other) as server:
        opening = asyncio.create_task(open_both())
        with pytest.raises(ServerError, match="do two say the same client_id") as told:
            await server.connect(timeout=2)
        await opening
        for end in ends:
            end.sock.close()
    assert "did not answer" not in told.value.message


@pytest.mark.anyio
async def test_without_aiosendspin_the_error_says_how_to_get_it(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiosendspin.noise.keys", None)
    with pytest.raises(BenchError, match=r"sendspin-rig\[reference\]"):
        ReferenceServer(link)
