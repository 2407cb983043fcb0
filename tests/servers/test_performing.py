"""What a server does with a device in use, as the wire shows it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from rig.errors import ServerError
from rig.history.events import Frame
from rig.protocol import encode_frame
from rig.servers import ScriptedServer, Unable
from rig.servers.audio import Tone
from rig.servers.performing import AHEAD_US, CHUNK

pytestmark = pytest.mark.anyio

PCM = {"codec": "pcm", "channels": 2, "sample_rate": 48_000, "bit_depth": 16}


async def in_use(device, server: ScriptedServer, formats=(PCM,)):
    connection = await server.connect(answer_hello=True)
    end = await device.accept()
    connection.ask_upgrade()
    await end.accept_upgrade()
    payload = {"client_id": "d", "player@v1_support": {"supported_formats": list(formats)}}
    hello = json.dumps({"type": "client/hello", "payload": payload})
    await end.send(encode_frame("text", hello.encode()))
    assert await connection.wait_hello() is not None
    return connection


async def test_audio_comes_in_chunks_whose_times_join(device, record, link) -> None:
    async with ScriptedServer(link) as server:
        connection = await in_use(device, server)
        performer = await connection.performer()
        await performer.play(Tone())
        await record.wait(Frame, lambda frame: frame.type == "stream/start")
        with record.store.watch(lambda e: isinstance(e, Frame) and e.opcode == "binary") as watch:
            times = []
            while len(times) < 4:
                seen = await watch.next(Frame, timeout=10)
                assert seen is not None
                times.append(int.from_bytes(bytes.fromhex(seen[1].head)[1:9], "big"))
                assert seen[1].size == 9 + 4 * CHUNK
        assert {b - a for a, b in pairwise(times)} == {25_000}
        assert times[0] <= connection.clock_us() + AHEAD_US
        await performer.pause()
        await record.wait(Frame, lambda frame: frame.type == "stream/end")
        sent = len(record.of(Frame, lambda frame: frame.opcode == "binary"))
        performer.mute(True)
        await record.wait(Frame, lambda frame: '"mute":true' in (frame.text or ""))
        assert len(record.of(Frame, lambda frame: frame.opcode == "binary")) == sent


async def test_it_tells_what_is_played_and_where(device, record, link) -> None:
    async with ScriptedServer(link) as server:
        performer = await (await in_use(device, server)).performer()
        performer.volume(12)
        performer.metadata("Title", "Artist")
        performer.rename("Attic")
        for words in ('"volume":12', '"title":"Title"', '"group_name":"Attic"'):
            await record.wait(Frame, lambda frame, w=words: w in (frame.text or ""))


async def test_a_device_that_takes_no_pcm_is_not_played_to(device, record, link) -> None:
    async with ScriptedServer(link) as server:
        connection = await in_use(device, server, formats=[{**PCM, "codec": "opus"}, "junk"])
        with pytest.raises(Unable, match="PCM"):
            await (await connection.performer()).play(Tone())


async def test_a_device_that_has_not_said_its_sealed_hello_is_not_played_to(device, link) -> None:
    async with ScriptedServer(link) as server:
        connection = await server.connect()
        end = await device.accept()
        connection.ask_upgrade()
        await end.accept_upgrade()
        init = b'{"type":"client/init","payload":{"client_id":"x"}}'
        await end.send(encode_frame("text", init))
        await connection.wait_hello()
        with pytest.raises(ServerError, match="has not said hello"):
            await connection.performer()
