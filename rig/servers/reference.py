"""The reference server: aiosendspin in front of one device, every byte of it through the link.

It is an optional part (`pip install 'sendspin-rig[reference]'`), so it is imported on first use.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from array import array
from types import TracebackType
from typing import Any, Final, Literal, Self

from rig.errors import ServerError
from rig.servers.engine import Clock, Engine, aiosendspin
from rig.servers.line import Front, Relayed

BUFFER_US: Final = 500_000
"""How far ahead of the clock audio is sent, in microseconds."""
EPOCH_US: Final = 2_000_000_000_000_000
"""The server's clock at the host's boot, in us: 63 years, so that no device's uptime is near it."""
_RATE: Final = 48_000


class ReferenceServer:
    """aiosendspin's server for the device at the end of `link`; an async context manager.

    Each has an identity of its own, so a new one is another server to the device. Legacy devices
    (client/hello first, unencrypted) are served where `allow_unencrypted`.
    """

    def __init__(
        self, link: Front, *, name: str = "Rig reference", allow_unencrypted: bool = True
    ) -> None:
        """Nothing is dialled yet. Raises `BenchError` where aiosendspin is not installed."""
        self.link = link
        self.url = ""
        """Where the link listens for this server, once it is entered."""
        self._clock = Clock(EPOCH_US)
        self._engine = Engine(link.record, name=name, allow_unencrypted=allow_unencrypted)
        self._engine.conns = lambda: tuple(link.relays)
        self.server_id = self._engine.server_id
        self._stirred = asyncio.Event()
        self._playing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.link.on_relay = self._joined
        self.url = await self.link.listen(server_id=self.server_id, clock_us=self._clock.now_us)
        self._engine.start(self._clock)
        self._server.add_event_listener(self._stir)
        return self

    @property
    def _server(self) -> Any:
        return self._engine.server

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        try:
            await self.stop()
        finally:
            await self._engine.close()

    def _stir(self, *_of: object) -> None:
        self._stirred.set()

    def _joined(self, relay: Relayed) -> None:
        relay.wire.on_event = self._stir

    async def _until(self, connected: bool) -> None:
        """Wait until `connected`. aiosendspin tells of no device's being ready, but it is ready
        before the frame that says so to the device has crossed the link."""
        while self.connected is not connected:
            self._stirred.clear()
            await self._stirred.wait()

    # -- the connection ---------------------------------------------------------------------

    async def connect(
        self, *, reason: Literal["discovery", "playback"] = "discovery", timeout: float = 10.0
    ) -> str:
        """Dial the device (at once, whatever back-off waits) until it is greeted: its client_id.

        Raises `ServerError` when that takes longer than `timeout` seconds.
        """
        types = aiosendspin("models.types")
        try:
            async with asyncio.timeout(timeout):
                await self._engine.task(
                    self._server.connect_to_client_and_wait(
                        self.url, connection_reason=types.ConnectionReason(reason)
                    )
                )
                self._engine.call(self._server.connect_to_client, self.url)
                await self._until(connected=True)
        except TimeoutError as error:
            raise ServerError(
                f"{self.link.board} was not served within {timeout:g} s: expected its opening "
                "message over the reference server's connection",
                hint="`rig wire` shows what crossed; an encrypted device needs pairing first",
            ) from error
        except Exception as error:
            if not type(error).__module__.startswith("aiohttp."):
                raise
            raise ServerError(
                f"the reference server could not connect to {self.link.board}: {error}",
                hint="has it booted, and is the path of its Sendspin endpoint right?",
            ) from error
        return self.client_id

    @property
    def connected(self) -> bool:
        """Whether the device is in a greeted connection now."""
        return self._server is not None and bool(self._server.connected_clients)

    async def disconnected(self, timeout: float = 10.0) -> bool:
        """Wait, at most `timeout` s, until the server knows that the device is gone; else False."""
        try:
            async with asyncio.timeout(timeout):
                await self._until(connected=False)
        except TimeoutError:
            return False
        return True

    @property
    def encrypted(self) -> bool:
        """Whether the connected device is of the Noise generation. Raises `ServerError`."""
        return self._client().connection_security is not None

    async def trust(self) -> None:
        """Trust the connected device unpaired: without it a Noise device is given no role.

        Legacy devices need none. The device, too, must allow unpaired access.
        """
        await self._engine.task(self._server.trust_unpaired(self.client_id))

    @property
    def client_id(self) -> str:
        """The connected device's id. Raises `ServerError` when there is none."""
        return str(self._client().client_id)

    def _client(self) -> Any:
        if not self.connected:
            raise ServerError(
                f"{self.link.board} is not connected to the reference server",
                hint="await connect() first",
            )
        return self._server.connected_clients[0]

    # -- playing ----------------------------------------------------------------------------

    def set_volume(self, volume: int) -> None:
        """Ask for a volume, 0 to 100; the device answers with its state."""
        for role in self._client().roles_by_family("player"):
            role.set_player_volume(volume)

    def play_tone(self, hertz: float = 440.0) -> None:
        """Play a tone until `stop`: 48 kHz stereo, in the codec that the device asks for."""
        if self._playing is not None and not self._playing.done():
            raise ServerError("a tone is playing already", hint="await stop() first")
        group = self._client().group
        stream = self._engine.call(group.start_stream)
        self._playing = self._engine.task(_play(stream, hertz))

    async def stop(self) -> None:
        """End the tone. Raises what ended it before."""
        task, self._playing = self._playing, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if self.connected:
            await self._client().group.stop()


async def _play(stream: Any, hertz: float) -> None:
    """Feed `stream` a tone, a tenth of a second at a time and at most `BUFFER_US` ahead."""
    audio = aiosendspin("audio.format")
    form = audio.AudioFormat(sample_rate=_RATE, bit_depth=16, channels=2)
    count = _RATE // 10
    begun = 0
    while not stream.is_stopped:
        stream.prepare_audio(tone(hertz, begun, count), form)
        await stream.commit_audio()
        await stream.sleep_to_limit_buffer(BUFFER_US)
        begun += count


def tone(hertz: float, first: int, count: int) -> bytes:
    """`count` samples from number `first` of a sine at -12 dB, 16 bit stereo, 48 kHz."""
    step = 2 * math.pi * hertz / _RATE
    samples = array("h")
    for n in range(first, first + count):
        value = round(8192 * math.sin(step * n))
        samples.extend((value, value))
    return samples.tobytes()
