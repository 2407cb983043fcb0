"""A device gets audio in the format that it asks for, and the history tells which."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import av
import pytest

from rig.history import Entry
from rig.history.events import ConnectionClosed, FormatChosen, Frame, ServerWarned
from rig.protocol import FrameReader, encode_frame
from rig.servers import Unable
from rig.servers.audio import Tone
from rig.servers.formats import MOST, FormatWatch
from rig.servers.played import PlayedServer

pytestmark = pytest.mark.anyio

PCM = {"codec": "pcm", "channels": 2, "sample_rate": 48_000, "bit_depth": 16}
FLAC, OPUS = {**PCM, "codec": "flac"}, {**PCM, "codec": "opus"}
STATE = {"state": "synchronized", "player": {"volume": 50, "muted": False}}


def message(kind: str, payload: dict[str, Any]) -> bytes:
    return encode_frame("text", json.dumps({"type": kind, "payload": payload}).encode())


@pytest.fixture
async def server(link, record) -> AsyncIterator[PlayedServer]:
    record.store.listen(FormatWatch(record.store.append))
    async with PlayedServer(link) as server:
        yield server


async def in_use(device, server, *formats: dict[str, Any]) -> tuple[Any, Any]:
    """A connection of aiosendspin's to a device that takes `formats`, and the device's end."""
    connection = await server.connect(answer_hello=True)
    end = await device.accept()
    connection.ask_upgrade()
    await end.accept_upgrade()
    hello = {
        "client_id": "d",
        "name": "double",
        "version": 1,
        "supported_roles": ["player@v1"],
        "player@v1_support": {
            "supported_formats": list(formats),
            "buffer_capacity": 1_000_000,
            "supported_commands": ["volume", "mute"],
        },
    }
    await end.send(message("client/hello", hello))
    await connection.wait_hello()
    await end.send(message("client/state", STATE))
    return connection, end


async def chunks(end: Any, count: int) -> tuple[dict[str, Any], list[bytes]]:
    """What stream/start says of the player, and that many chunks of audio after it."""
    reader = FrameReader(keep=65_536)
    player: dict[str, Any] = {}
    found: list[bytes] = []
    while len(found) < count:
        for frame in reader.feed(await end.recv()):
            if frame.opcode == "text" and b"stream/start" in frame.payload:
                player = json.loads(frame.payload)["payload"]["player"]
            elif frame.opcode == "binary":
                found.append(frame.payload[9:])
    return player, found


def loudest(player: dict[str, Any], packets: list[bytes]) -> float:
    """The largest sample after decoding (full scale is 1), by a decoder of FFmpeg's."""
    if player["codec"] == "pcm":
        samples = memoryview(b"".join(packets)).cast("h")
        return max(abs(each) for each in samples) / 32_768
    if player["codec"] == "flac":
        data = base64.b64decode(player["codec_header"]) + b"".join(packets)
        with av.open(io.BytesIO(data), format="flac") as container:
            planes = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return max(abs(int(plane.max())) for plane in planes) / 32_768
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = player["sample_rate"], "stereo"
    planes = [frame.to_ndarray() for data in packets for frame in decoder.decode(av.Packet(data))]
    return max(abs(float(plane.max())) for plane in planes) / 32_768


@pytest.mark.parametrize("asked", [PCM, FLAC, OPUS], ids=lambda each: each["codec"])
async def test_a_device_is_played_to_in_the_codec_that_it_asks_for(
    device, record, server, asked
) -> None:
    others = [each for each in (PCM, FLAC, OPUS) if each is not asked]
    connection, end = await in_use(device, server, asked, *others)
    await (await connection.performer()).play(Tone())
    player, packets = await chunks(end, 8)
    assert player["codec"] == asked["codec"]
    assert 0.2 < loudest(player, packets) < 0.3  # a tone at -12 dB
    chosen = await record.wait(FormatChosen)
    assert chosen.place == 0
    assert chosen.conn == connection.conn
    assert chosen.given.startswith(f"{asked['codec']} 48000 Hz, 2 channels")
    assert len(chosen.asked) == 3


async def test_a_codec_that_is_missing_here_is_told_and_the_next_one_taken(
    device, record, server, monkeypatch
) -> None:
    for module in ("audio.codecs", "server.roles.player.capabilities"):
        monkeypatch.setattr(f"aiosendspin.{module}.opus_available", lambda: False)
    connection, end = await in_use(device, server, OPUS, PCM)
    await (await connection.performer()).play(Tone())
    player, _ = await chunks(end, 1)
    assert player["codec"] == "pcm"
    assert (await record.wait(FormatChosen)).place == 1
    warned = await record.wait(ServerWarned, lambda told: "opus" in told.text)
    assert warned.text == "PyAV has no opus encoder here: the device's next format is taken"


async def test_a_device_that_takes_only_what_is_missing_is_one_clear_error(
    device, server, monkeypatch
) -> None:
    for module in ("audio.codecs", "server.roles.player.capabilities"):
        monkeypatch.setattr(f"aiosendspin.{module}.opus_available", lambda: False)
    connection, _ = await in_use(device, server, OPUS)
    with pytest.raises(Unable, match="takes opus: PyAV has no opus encoder here"):
        await (await connection.performer()).play(Tone())


# -- the watch alone


class Watched:
    def __init__(self) -> None:
        self.told: list[FormatChosen] = []
        self.watch = FormatWatch(self._record)

    def _record(self, event: Any) -> int:
        self.told.append(event)
        return len(self.told)

    def frame(self, sender: Any, kind: str, payload: Any) -> None:
        told = {"type": kind, "payload": payload}
        event = Frame(t=1, conn=1, sender=sender, opcode="text", size=9, type=kind, message=told)
        self.watch(Entry(1, event))

    def hello(self, *formats: object) -> None:
        support = {"supported_formats": list(formats)}
        self.frame("device", "client/hello", {"player@v1_support": support})

    def start(self, given: dict[str, Any]) -> FormatChosen:
        self.frame("server", "stream/start", {"player": given})
        return self.told[-1]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_what_was_not_asked_for_is_told(watched) -> None:
    watched.hello(PCM)
    assert watched.start(FLAC).place is None


def test_opus_has_no_bit_depth(watched) -> None:
    watched.hello({**OPUS, "bit_depth": 32})
    assert watched.start(OPUS).place == 0


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("stream/request-format", {"player": {"codec": "opus"}}),
        ("client/state", {"player": {"format": OPUS}}),
    ],
)
def test_a_later_wish_comes_first(watched, kind, payload) -> None:
    watched.hello(PCM, OPUS)
    watched.frame("device", kind, payload)
    assert watched.start(OPUS).place == 0


@pytest.mark.parametrize("formats", [[7, None, "pcm"], [[]], [{"codec": {"a": 1}}], [PCM] * 10_000])
def test_junk_is_bounded(watched, formats) -> None:
    watched.hello(*formats)
    watched.frame("device", "client/state", {"player": {"format": {"codec": []}}})
    told = watched.start({"codec": "x" * 10_000})
    assert len(told.asked) <= MOST
    assert len(told.given) < 300


def test_a_closed_connection_is_forgotten(watched) -> None:
    watched.hello(PCM)
    watched.watch(Entry(2, ConnectionClosed(t=2, conn=1, reason="")))
    watched.frame("server", "stream/start", {"player": PCM})
    assert watched.told == []
