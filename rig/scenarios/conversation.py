"""`conversation`: a long session as a household has it, while faults come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache

from rig.errors import ServerError
from rig.scenarios.registry import REQUIRED_CHECKS, STANDARD_CHECKS, scenario
from rig.scenarios.stage import Stage
from rig.servers import Connection, Unable
from rig.servers.audio import Tone
from rig.servers.load import LoadWatch
from rig.servers.performing import Performer

SECONDS = 20.0
"""How long it goes on unless told otherwise."""
REPORT_S = 10.0
"""Between two reports on the audio."""
ENDS = ("rst", "fin", "close", "cut")
"""Faults after which there is no connection."""
LASTS = ("silence", "delay", "trickle", "stall")
"""Faults that are healed while the connection goes on."""
RATE = 20_000.0
"""Bytes a second under `trickle`: a tenth of what PCM takes."""


TALK_CHECKS = ("media_well_formed", "speaks_websocket", "messages_known", "controls_heeded")
"""What a conversation is judged by beside what every scenario is."""


@cache
def _music() -> Tone:
    """Made once: it takes a tenth of a second."""
    return Tone(220.0, hiss=True)


@scenario(
    "conversation",
    title="audio, volume, mute, metadata, pauses, group changes, while faults come and go",
    cycles=1,
    faults=(*ENDS, *LASTS),
    checks=(
        *STANDARD_CHECKS,
        "media_well_formed",
        "speaks_websocket",
        "messages_known",
        "controls_heeded",
    ),
    required=(*REQUIRED_CHECKS, "served_again"),
    by_default=False,
    server="reference",
)
async def conversation(stage: Stage) -> None:
    """Serve; play and talk; every few seconds something happens to the connection. Seeded."""
    watch = LoadWatch()
    stage.history.listen(watch)
    loop = asyncio.get_running_loop()
    until = loop.time() + (stage.seconds or SECONDS)
    try:
        turn = 0
        while loop.time() < until:
            turn += 1
            await _session(stage, watch, until, turn)
    finally:
        stage.history.unlisten(watch)
    await stage.probe()
    await stage.settle()


@dataclass(slots=True)
class _Talk:
    """One connection in use."""

    stage: Stage
    connection: Connection
    performer: Performer
    turn: int


async def _session(stage: Stage, watch: LoadWatch, until: float, turn: int) -> None:
    """One connection, to its end: by a fault, or because time is up."""
    loop = asyncio.get_running_loop()
    connection = await stage.serve(reason=stage.rng.choice(("playback", "discovery")))
    talk = _Talk(stage, connection, await connection.performer(), turn)
    talking = asyncio.ensure_future(_talk_on(talk))
    reporting = asyncio.ensure_future(_report(stage, watch, connection))
    try:
        while loop.time() < until and not connection.closed:
            quiet = stage.rng.uniform(0.5, 2.5)
            await connection.wait_closed(max(0.1, min(quiet, until - loop.time())))
            if not connection.closed and loop.time() < until:
                await _fault(talk)
    finally:
        for task in (talking, reporting):
            task.cancel()
        outcomes = await asyncio.gather(talking, reporting, return_exceptions=True)
        talk.performer.close()
        if (fared := watch.report(connection.conn, over=True)) is not None:
            stage.history.append(fared)
    if not connection.closed:
        await stage.end(connection)
    for outcome in outcomes:
        if isinstance(outcome, Unable) or (
            isinstance(outcome, Exception) and not isinstance(outcome, ServerError)
        ):
            raise outcome
    await stage.settle()


async def _talk_on(talk: _Talk) -> None:
    """Play, and do something every now and then, in an order that the seed decides."""
    performer, rng = talk.performer, talk.stage.rng
    performer.metadata(f"Track {talk.turn}", "The Rig")
    await performer.play(_music())
    acts: tuple[Callable[[], Awaitable[None] | None], ...] = (
        lambda: performer.volume(rng.randrange(101)),
        lambda: performer.mute(rng.random() < 0.5),
        lambda: performer.metadata(f"Track {rng.randrange(100)}", "The Rig"),
        lambda: performer.rename(f"Room {rng.randrange(10)}"),
        lambda: talk.connection.ping(b"conversation"),
        performer.artwork,
        performer.regroup,
        lambda: _pause(talk),
    )
    while not talk.connection.closed:
        await talk.connection.wait_closed(rng.uniform(0.2, 1.0))
        if talk.connection.closed:
            return
        done = rng.choice(acts)()
        if done is not None:
            await done


async def _pause(talk: _Talk) -> None:
    """The end of a stream, a moment of silence, and another one."""
    await talk.performer.pause()
    await talk.connection.wait_closed(0.3)
    if not talk.connection.closed:
        await talk.performer.play(_music())


async def _fault(talk: _Talk) -> None:
    stage, connection = talk.stage, talk.connection
    name = stage.rng.choice((*ENDS, *LASTS))
    params: dict[str, float] = {}
    if name == "trickle":
        params["rate"] = RATE
    elif name == "delay":
        params["ms"] = float(stage.rng.randrange(20, 400))

    async def traffic() -> None:  # the proof of a lasting fault is what it did to some bytes
        if not connection.closed:
            connection.say()

    act = traffic if name in LASTS else None
    await stage.strike(name, connection, act=act, params=params)
    if name not in LASTS:
        connection.close()
        return
    await connection.wait_closed(stage.rng.uniform(0.3, 1.5))
    heal: dict[str, Callable[[], None]] = {
        "silence": connection.line.speak,
        "stall": connection.line.unstall,
        "delay": lambda: connection.line.delay(0),
        "trickle": lambda: connection.line.trickle(0),
    }
    heal[name]()
    if name == "silence":
        # Frames are torn where bytes were swallowed: no real server goes on from there.
        connection.drop()


async def _report(stage: Stage, watch: LoadWatch, connection: Connection) -> None:
    while not connection.closed:
        await connection.wait_closed(REPORT_S)
        if (fared := watch.report(connection.conn)) is not None:
            stage.history.append(fared)
