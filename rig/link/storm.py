"""A storm: many connections that open, say half of something and end somehow, from one seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from rig.errors import ServerError
from rig.history import now_ns
from rig.history.events import Note
from rig.protocol import encode_close, encode_frame

if TYPE_CHECKING:
    from rig.link.link import Link
    from rig.link.wire import Wire

Reach = Literal["tcp", "half request", "request", "upgraded"]
Said = Literal["nothing", "half frame", "cut frame", "ping", "close frame", "junk"]
Ending = Literal["rst", "fin", "close"]

_REACHES: Final[tuple[Reach, ...]] = ("tcp", "half request", "request", "upgraded", "upgraded")
_SAID: Final[tuple[Said, ...]] = (
    "nothing",
    "half frame",
    "cut frame",
    "ping",
    "close frame",
    "junk",
)
_ENDINGS: Final[tuple[Ending, ...]] = ("rst", "rst", "fin", "close")
_MASK: Final = b"\x5a\xa5\x5a\xa5"


@dataclass(frozen=True, slots=True)
class Gust:
    """One connection of a storm: how far it gets, what it says, how it ends, how long it lasts."""

    reach: Reach
    said: Said
    ending: Ending
    linger: float
    """Seconds for which the device may be heard before the end."""
    apart: float
    """Seconds from the beginning of the one before."""


def gusts(n: int, seed: int) -> Iterator[Gust]:
    """The `n` connections of the storm `seed`: the same for ever."""
    chance = random.Random(seed)
    for _ in range(n):
        yield Gust(
            reach=chance.choice(_REACHES),
            said=chance.choice(_SAID),
            ending=chance.choice(_ENDINGS),
            linger=chance.choice((0.0, 0.005, 0.02, 0.12)),
            apart=chance.choice((0.0, 0.0, 0.003, 0.03)),
        )


async def storm(link: Link, n: int, seed: int, *, at_once: int = 4) -> int:
    """Play the storm `seed` of `n` connections, at most `at_once` open at a time.

    How many connections the device let in is returned. One that it does not accept within a
    second is noted and passed over. Every connection is over when this returns.
    """
    places = asyncio.Semaphore(at_once)
    let_in = 0

    async def blow(gust: Gust) -> None:
        nonlocal let_in
        try:
            wire = await link.dial(timeout=1.0)
        except ServerError as error:
            link.record(Note(t=now_ns(), text=f"storm: {error.message}"))
            return
        else:
            let_in += 1
            await _play(link, wire, gust)
        finally:
            places.release()

    async with asyncio.TaskGroup() as group:
        for gust in gusts(n, seed):
            await places.acquire()
            if gust.apart:
                await asyncio.sleep(gust.apart)
            group.create_task(blow(gust))
    return let_in


async def _play(link: Link, wire: Wire, gust: Gust) -> None:
    closed = asyncio.Event()
    heard = asyncio.Event()
    wire.on_closed = lambda _reason: closed.set()
    wire.on_event = lambda _entry: heard.set() if wire.answered else None
    wire.start()
    try:
        request = link.request()
        if gust.reach == "half request":
            wire.send(request[: len(request) // 2])
        elif gust.reach != "tcp":
            wire.send(request)
        if gust.reach == "upgraded":
            await _either(heard, closed, timeout=1.0)
        if wire.answered == 101:
            _say(wire, gust.said)
        if gust.linger:
            await _either(closed, timeout=gust.linger)
        {"rst": wire.rst, "fin": wire.fin, "close": wire.close}[gust.ending]()
        await _either(closed, timeout=0.25)
    finally:
        wire.close()


def _say(wire: Wire, said: Said) -> None:
    if said == "half frame":
        wire.stall()
    elif said == "cut frame":
        wire.send(encode_frame("text", b'{"type":"server/state","payload":{}}', mask=_MASK)[:11])
    elif said == "ping":
        wire.send(encode_frame("ping", b"storm", mask=_MASK))
    elif said == "close frame":
        wire.send(encode_close(1000, mask=_MASK))
    elif said == "junk":
        wire.send(encode_frame("text", b"\xff{not json", mask=_MASK))


async def _either(*events: asyncio.Event, timeout: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
