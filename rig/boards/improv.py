"""WiFi credentials by Improv over a board's console: ESPHome and whoever else speaks it."""

from __future__ import annotations

import asyncio

from rig.boards.base import Board
from rig.console.improv import Client, Failed, State
from rig.console.sources import Source, SourceGone, open_source
from rig.errors import BenchError, BoardError

ASK_SECONDS = 1.0
"""Between two questions while nothing answers: the device may be booting."""
ANSWER_SECONDS = 15.0
"""How long a device may take to answer at all."""
JOIN_SECONDS = 60.0
"""How long it may take to join; ESPHome gives up after 30."""
_TURN = 0.02


async def provision_improv(board: Board, ssid: str, passphrase: str) -> str:
    """Hand the credentials over and see it join; where the device says to go on (may be empty).

    Hold the board's lock. The board is not reset. Raises `BoardError`.
    """
    url = board.console_url
    if url is None:
        raise BenchError(
            f"the board '{board.name}' has no console to speak Improv over",
            hint="name one as `console` in its bench table",
        )
    source = await asyncio.to_thread(open_source, url, baud=board.console_baud)
    client = Client(ssid, passphrase)
    try:
        await _until_answered(board.name, source, client)
        async with asyncio.timeout(JOIN_SECONDS):
            while client.url is None:
                await _turn(source, client)
    except TimeoutError as error:
        raise BoardError(
            f"{board.name}: has the credentials, and did not join '{ssid}' within "
            f"{JOIN_SECONDS:.0f} s",
            hint=f"is the network in reach (2.4 GHz)? `rig monitor {board.name}` shows its log",
        ) from error
    except Failed as error:
        raise BoardError(
            f"{board.name}: did not take the credentials for '{ssid}': {error}",
            hint="check the network's name and pass-phrase",
        ) from error
    except SourceGone as error:
        raise BoardError(
            f"{board.name}: its console {url} went away: {error}",
            hint="check the cable, then try again",
        ) from error
    finally:
        await asyncio.to_thread(source.close)
    return client.url


async def _until_answered(name: str, source: Source, client: Client) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ANSWER_SECONDS
    asked = float("-inf")
    while client.state is None:
        now = loop.time()
        if now > deadline:
            raise BoardError(
                f"{name}: nothing answers Improv on its console within {ANSWER_SECONDS:.0f} s",
                hint="does its firmware have `improv_serial:` (ESPHome), on this very port? "
                "By flash instead: provision.by = 'nvs'",
            )
        if now - asked >= ASK_SECONDS:
            await _send(source, client.ask())
            asked = now
        await _turn(source, client)
    assert client.state is not State.AWAITING_AUTHORIZATION


async def _turn(source: Source, client: Client) -> None:
    """Read what has come and answer it. A console without a descriptor blocks, so in a thread."""
    if source.fileno() is None:
        data = await asyncio.to_thread(source.read)
    elif not (data := source.read()):
        await asyncio.sleep(_TURN)
    await _send(source, client.receive(data))


async def _send(source: Source, data: bytes) -> None:
    while data:
        sent = await asyncio.to_thread(source.write, data)
        data = data[sent:]
        if not sent:
            await asyncio.sleep(_TURN)
