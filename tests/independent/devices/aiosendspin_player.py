"""aiosendspin's own player behind its own listener, as a program: `aiosendspin_player.py PORT`."""

from __future__ import annotations

import asyncio
import logging
import sys

from aiohttp import web
from aiosendspin.client import ClientListener, SendspinClient
from aiosendspin.models.core import ServerCommandPayload
from aiosendspin.models.player import ClientHelloPlayerSupport, SupportedAudioFormat
from aiosendspin.models.types import AudioCodec, PlayerCommand, Roles
from aiosendspin.noise.keys import Identity
from aiosendspin.noise.trust_store import InMemoryClientPairingStore


async def main(port: int) -> None:
    form = SupportedAudioFormat(AudioCodec.PCM, channels=2, sample_rate=48_000, bit_depth=16)
    client = SendspinClient(
        Identity.generate(),
        "aiosendspin's player",
        [Roles.PLAYER],
        pairing_store=InMemoryClientPairingStore(),
        player_support=ClientHelloPlayerSupport([form], buffer_capacity=1_000_000),
        state_supported_commands=[PlayerCommand.VOLUME],
    )
    await client.set_unpaired_access(enabled=True)
    known = {"volume": 100, "muted": False}
    telling: set[asyncio.Task[None]] = set()

    def command(payload: ServerCommandPayload) -> None:
        """What the library leaves to its embedder: apply it and say so."""
        if payload.player is not None and payload.player.volume is not None:
            known["volume"] = payload.player.volume
            state = client.send_player_state(available=True, **known)
            telling.add(asyncio.create_task(state))

    client.add_server_command_listener(command)

    async def serve(ws: web.WebSocketResponse) -> None:
        await client.attach_websocket(ws)

    listener = ClientListener("device", serve, port=port, host="127.0.0.1", advertise_mdns=False)
    await listener.start()
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(main(int(sys.argv[1])))
