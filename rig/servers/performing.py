"""What a server does with a device in use: audio, volume, metadata, artwork, its group.

Two performers: the scripted server's messages (PCM only), and aiosendspin.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, Protocol

from rig.errors import ServerError
from rig.history.events import Frame
from rig.protocol import messages
from rig.protocol.payload import payload_of
from rig.servers.audio import FRAME, RATE, Source
from rig.servers.controls import Controls
from rig.servers.engine import Engine, aiosendspin
from rig.servers.line import Unable

AHEAD_US: Final = 500_000
"""How far ahead of its time the scripted server sends audio, in us."""
REFERENCE_AHEAD_US: Final = 2_500_000
"""How far ahead aiosendspin is fed, in us. Below what a device says that it needs (a second, where
it says nothing) aiosendspin skips ahead with every chunk, and the device hears gaps."""
CHUNK: Final = RATE // 40
"""Frames of a chunk of the scripted server: 25 ms."""
BACKLOG_BOUND: Final = 1_000_000
"""Bytes that wait for a device above which no more audio is made: it does not read."""

_COLOUR: Final = (200, 60, 40)
"""Of the artwork."""


class Performer(Protocol):
    """Plays to one device, or to the group that it is in."""

    async def play(self, source: Source) -> None:
        """Begin to play `source`, instead of what plays."""
        ...

    async def pause(self) -> None:
        """End the stream; the connection stays."""
        ...

    def volume(self, level: int) -> None:
        """Ask for a volume, 0 to 100."""
        ...

    def mute(self, on: bool) -> None:
        """Mute or unmute."""
        ...

    def metadata(self, title: str, artist: str, *, seconds: int = 180) -> None:
        """Tell what is played, and how long it is."""
        ...

    async def artwork(self) -> None:
        """Show a picture, where the device shows any."""
        ...

    def rename(self, name: str) -> None:
        """Rename its group."""
        ...

    async def regroup(self) -> None:
        """Move the device to a group of its own; what played goes on there."""
        ...

    async def announce(self, *, playing: bool) -> None:
        """Say that the group plays, or has stopped, and send no audio."""
        ...

    def close(self) -> None:
        """Stop what goes on in the background, and send nothing any more."""
        ...


class _Background:
    """At most one task that feeds audio."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self.failed: BaseException | None = None
        """What ended it, if it was not told to end."""

    def begin(self, task: asyncio.Task[None]) -> None:
        self._task = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.failed = task.exception()

    async def end(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None


class Speaks(Protocol):
    """What a performer needs of a scripted connection."""

    @property
    def introduction(self) -> Frame | None:
        """The device's client/hello, sealed or not."""
        ...

    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes that wait to be sent."""
        ...

    def clock_us(self, t: int | None = None) -> int:
        """The server's clock."""
        ...

    def send(self, kind: str, payload: Any) -> None:
        """Send a message."""
        ...

    def send_audio(self, timestamp_us: int, data: bytes) -> None:
        """Send a chunk of audio."""
        ...


class ScriptedPerformer:
    """Performs over a connection of the scripted server."""

    def __init__(self, connection: Speaks) -> None:
        """Raises `ServerError` for a device that has not said hello."""
        hello = connection.introduction
        if hello is None:
            raise ServerError("the device has not said hello: nothing can be played to it")
        self._connection = connection
        self._noise = hello.sealed is not None
        self._payload = payload_of(hello)
        self._audio = _Background()
        self._streaming = False
        self._groups = 1

    async def play(self, source: Source) -> None:
        """PCM, 48 kHz stereo. Raises `Unable` for a device that does not take it."""
        await self._audio.end()
        if not _takes_pcm(self._payload):
            raise Unable(
                "the scripted server plays 48 kHz stereo PCM, and the device does not take that",
                hint="play it with --server reference, which encodes",
            )
        if not self._streaming:
            self._group("playing")
            start = messages.stream_start()
            if self._noise:
                start["server_transmitted"] = self._connection.clock_us()
            self._connection.send("stream/start", start)
            self._streaming = True
        self._audio.begin(asyncio.get_running_loop().create_task(self._feed(source)))

    async def _feed(self, source: Source) -> None:
        connection = self._connection
        due = connection.clock_us() + AHEAD_US
        while not connection.closed:
            if connection.waiting < BACKLOG_BOUND:
                connection.send_audio(due, source.read(CHUNK))
            due += CHUNK * 1_000_000 // RATE
            late = connection.clock_us() - due
            if late > 0:  # this process was held up: go on from now, as a player would
                due += late + AHEAD_US
            await asyncio.sleep(max(0.0, (due - AHEAD_US - connection.clock_us()) / 1e6))

    async def pause(self) -> None:
        """stream/end, and the group is stopped."""
        await self._audio.end()
        if self._streaming:
            self._streaming = False
            self._connection.send("stream/end", messages.stream_roles())
            self._group("stopped")

    def _group(self, state: Literal["playing", "stopped"], name: str = "Rig") -> None:
        group = f"rig-{self._groups}"
        self._connection.send("group/update", messages.group_update(group, name, state))

    async def regroup(self) -> None:
        """group/update with another id."""
        self._groups += 1
        self._group("playing" if self._streaming else "stopped")

    def volume(self, level: int) -> None:
        """server/command volume."""
        self._connection.send("server/command", messages.volume_command(level))

    def mute(self, on: bool) -> None:
        """server/command mute."""
        self._connection.send("server/command", messages.mute_command(on))

    def metadata(self, title: str, artist: str, *, seconds: int = 180) -> None:
        """server/state metadata."""
        told = {
            "timestamp": self._connection.clock_us(),
            "title": title,
            "artist": artist,
            "progress": {
                "track_progress": 0,
                "track_duration": seconds * 1000,
                "playback_speed": 1000,
            },
        }
        self._connection.send("server/state", messages.server_state(metadata=told))

    async def artwork(self) -> None:
        """None: the scripted server encodes no pictures."""

    async def announce(self, *, playing: bool) -> None:
        """group/update; noise: before it, the activity."""
        if self._noise:
            active: tuple[str, ...] = ("playback",) if playing else ()
            self._connection.send("server/activate", {"activities": active})
        self._group("playing" if playing else "stopped")

    def rename(self, name: str) -> None:
        """group/update."""
        self._group("playing" if self._streaming else "stopped", name)

    def close(self) -> None:
        """Feed no more."""
        self._audio.cancel()


def _takes_pcm(payload: dict[str, Any]) -> bool:
    support = payload.get("player@v1_support") or payload.get("player_support")
    formats = support.get("supported_formats") if isinstance(support, dict) else None
    if not isinstance(formats, list):
        return False
    wanted = {"codec": "pcm", "channels": 2, "sample_rate": RATE, "bit_depth": 16}
    return any(isinstance(each, dict) and wanted.items() <= each.items() for each in formats)


class ReferencePerformer:
    """Performs through aiosendspin's `SendspinClient`, to all of its group."""

    def __init__(self, engine: Engine, client: Any) -> None:
        """`client` is in use already."""
        self._engine = engine
        self._client = client
        self._audio = _Background()
        self._told_codecs = False
        self._controls = Controls(engine, self)
        self._source: Source | None = None
        self._track = 1
        self._told = ("Track", "", 180)
        """Title, artist and seconds."""

    @property
    def _group(self) -> Any:
        return self._client.group

    async def play(self, source: Source) -> None:
        """48 kHz stereo, in the codec that each device of the group asks for.

        Raises `Unable` where the first device takes nothing that can be encoded here.
        """
        self._check_codecs()
        self._source = source
        self._controls.attach(self._group)
        await self._audio.end()
        stream = self._engine.call(self._group.start_stream)
        self._audio.begin(self._engine.task(_feed(stream, source)))

    async def resume(self) -> None:
        """Play what was played last, if anything."""
        if self._source is not None:
            await self.play(self._source)

    async def skip(self, tracks: int) -> None:
        """Play from its beginning what is told to be another track."""
        self._track = max(1, self._track + tracks)
        title, artist, seconds = self._told
        self._tell(f"{title} #{self._track}", artist, seconds)
        await self.resume()

    async def regroup(self) -> None:
        """Out of its group, into one of its own; what played goes on there."""
        await self._audio.end()
        await self._run(self._group.remove_client(self._client))
        await self.resume()

    def _check_codecs(self) -> None:
        """A codec that is missing here is told, before another one is taken in its place."""
        codecs = aiosendspin("audio.codecs")
        missing = []
        if not codecs.opus_available():
            missing.append("opus")
        if not codecs.flac_encoder_available():
            missing.append("flac")
        for role in self._client.roles_by_family("player"):
            support = self._client.info.player_support
            asked = [each.codec.value for each in support.supported_formats] if support else []
            lacking = [each for each in missing if each in asked]
            words = f"PyAV has no {' and no '.join(lacking)} encoder here" if lacking else ""
            if asked and not role.get_supported_formats():
                told = words or "aiosendspin encodes none of its formats"
                raise Unable(
                    f"the device takes {', '.join(dict.fromkeys(asked))}: {told}",
                    hint="install a PyAV with FFmpeg's encoders, as its wheels have them",
                )
            if lacking and not self._told_codecs:
                self._told_codecs = True
                self._engine.warned(f"{words}: the device's next format is taken")

    async def pause(self) -> None:
        """Stop the group; the position in the track stays. Raises what ended the audio before."""
        await self._audio.end()
        if self._client.is_connected:
            await self._run(self._group.stop(keep_progress=True))
        failed, self._audio.failed = self._audio.failed, None
        if failed is not None:
            raise ServerError(f"the audio had ended: {failed}") from failed

    def volume(self, level: int) -> None:
        """Of this device alone."""
        for role in self._client.roles_by_family("player"):
            self._engine.call(role.set_player_volume, level)

    def mute(self, on: bool) -> None:
        """Of this device alone."""
        for role in self._client.roles_by_family("player"):
            self._engine.call(role.set_player_mute, on)

    def metadata(self, title: str, artist: str, *, seconds: int = 180) -> None:
        """To every device of the group that shows any."""
        self._told = title, artist, seconds
        self._tell(title, artist, seconds)

    def _tell(self, title: str, artist: str, seconds: int) -> None:
        state = aiosendspin("server.roles.metadata.state")
        told = state.Metadata(
            title=title,
            artist=artist,
            track_progress=0,
            track_duration=seconds * 1000,
            playback_speed=1000,
        )
        self._with_role("metadata", lambda role: role.set_metadata(told))

    async def artwork(self) -> None:
        """A picture of one colour, to every device of the group that shows any."""
        from PIL import Image

        image = Image.new("RGB", (64, 64), _COLOUR)
        role = self._group.group_role("artwork")
        if role is not None:
            await self._run(role.set_album_artwork(image))

    async def announce(self, *, playing: bool) -> None:
        """A stream that is begun or stopped, and never fed."""
        if playing:
            self._engine.call(self._group.start_stream)
        else:
            await self.pause()

    def rename(self, name: str) -> None:
        """Told to every device of the group."""
        self._engine.call(self._group.set_group_name, name)

    def close(self) -> None:
        """Feed no more, and heed no controller."""
        self._controls.detach()
        self._audio.cancel()

    def _with_role(self, family: str, act: Callable[[Any], object]) -> None:
        role = self._group.group_role(family)
        if role is not None:
            self._engine.call(act, role)

    async def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        await self._engine.task(work)


async def _feed(stream: Any, source: Source) -> None:
    """Feed `stream`, a tenth of a second at a time and at most `REFERENCE_AHEAD_US` ahead."""
    audio = aiosendspin("audio.format")
    form = audio.AudioFormat(sample_rate=RATE, bit_depth=8 * FRAME // 2, channels=2)
    while not stream.is_stopped:
        stream.prepare_audio(source.read(RATE // 10), form)
        await stream.commit_audio()
        await stream.sleep_to_limit_buffer(REFERENCE_AHEAD_US)
