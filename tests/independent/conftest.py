"""Devices that nobody here wrote, as boards: aiosendspin's own client behind its listener."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosendspin.client import ClientListener, SendspinClient
from aiosendspin.client.models import PairingSupport
from aiosendspin.models.player import ClientHelloPlayerSupport, SupportedAudioFormat
from aiosendspin.models.types import AudioCodec, PlayerCommand, Roles
from aiosendspin.noise.keys import Identity
from aiosendspin.noise.trust_store import InMemoryClientPairingStore

from rig.boards.base import Address
from rig.history import Event, HistoryStore
from rig.link import Link


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Device:
    """aiosendspin's player: one client that serves each server its listener lets in."""

    def __init__(self, port: int, *, controller: bool = False, shows: bool = False) -> None:
        self.address = Address("127.0.0.1", port)
        form = SupportedAudioFormat(AudioCodec.PCM, channels=2, sample_rate=48_000, bit_depth=16)
        self.client = SendspinClient(
            Identity.generate(),
            "aiosendspin's player",
            [Roles.PLAYER, *([Roles.CONTROLLER, Roles.METADATA] if controller else [])],
            pairing_store=InMemoryClientPairingStore(),
            pairing_support=PairingSupport(pairing_code_display=self._show if shows else None),
            player_support=ClientHelloPlayerSupport([form], buffer_capacity=1_000_000),
            state_supported_commands=[PlayerCommand.VOLUME],
        )
        self.heard: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue(100)
        """What its player was told to play."""
        self.client.add_audio_chunk_listener(self._chunk)
        self.client.add_server_command_listener(self._command)
        self.telling: set[asyncio.Task[None]] = set()
        self.shown: asyncio.Queue[str] = asyncio.Queue()
        """Pairing codes that it showed."""

    def _command(self, payload: Any) -> None:
        """What the library leaves to its embedder: apply the volume and say so."""
        if payload.player is not None and payload.player.volume is not None:
            volume = payload.player.volume
            state = self.client.send_player_state(available=True, volume=volume, muted=False)
            self.telling.add(asyncio.create_task(state))

    async def _show(self, code: str | None, *, grouped: str | None) -> None:
        if code is not None:
            self.shown.put_nowait(code)

    def _chunk(self, *of: Any) -> None:
        if not self.heard.full():
            self.heard.put_nowait(of)

    async def serve(self, ws: web.WebSocketResponse) -> None:
        await self.client.attach_websocket(ws)


@pytest.fixture
async def player(anyio_backend: str) -> Device:
    """It listens nowhere: it is there to dial."""
    device = Device(0, shows=True)
    await device.client.set_unpaired_access(enabled=True)
    return device


@pytest.fixture
async def device(anyio_backend: str) -> AsyncIterator[Device]:
    """It listens on loopback, unannounced, and lets in servers that are not paired."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    device = Device(port)
    await device.client.set_unpaired_access(enabled=True)
    listener = ClientListener(
        "device", device.serve, port=port, host="127.0.0.1", advertise_mdns=False
    )
    await listener.start()
    yield device
    await device.client.disconnect()
    await listener.stop()


class Record:
    """A history on disk that a test can look at."""

    def __init__(self, path: Path) -> None:
        self.store = HistoryStore(path)
        self.events: list[Event] = []
        self.store.listen(lambda entry: self.events.append(entry.event))

    def of[E: Event](self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = Record(tmp_path / "history.jsonl")
    yield record
    record.store.close()


@pytest.fixture
async def link(device: Device, record: Record) -> AsyncIterator[Link]:
    async with Link(device.address, record.store.append, board="aiosendspin") as link:
        yield link
