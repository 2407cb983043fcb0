"""Faults of connections that do not go on as they should: no upgrade, no hello, storms."""

from __future__ import annotations

import random

from rig.errors import ServerError
from rig.faults.registry import Param, Proof, Target, fault
from rig.history import Event
from rig.history.events import ConnectionOpened, TcpFin, TcpReset, UpgradeAnswered

PROOF_S = 2.0


@fault(
    "no-upgrade",
    title="open a TCP connection and never ask for the upgrade",
    seen="the connection was accepted",
    aimed=False,
)
async def no_upgrade(target: Target) -> Proof | None:
    """It takes a session of the device (v0.7.0 and later close it after 5 s)."""
    with target.history.watch(lambda event: isinstance(event, ConnectionOpened)) as watch:
        await target.server.connect()
        seen = await watch.next(ConnectionOpened, timeout=PROOF_S)
    return Proof("accepted, nothing sent", (seen[0],)) if seen else None


@fault(
    "no-hello",
    title="upgrade a connection and never greet",
    seen="the device answered 101",
    aimed=False,
)
async def no_hello(target: Target) -> Proof | None:
    """The device waits for a server/hello that does not come."""
    with target.history.watch(lambda event: isinstance(event, UpgradeAnswered)) as watch:
        connection = await target.server.connect()
        connection.ask_upgrade()
        seen = await watch.next(
            UpgradeAnswered, timeout=PROOF_S, where=lambda event: event.conn == connection.conn
        )
    return Proof("upgraded, not greeted", (seen[0],)) if seen else None


@fault(
    "storm",
    title="open many connections and end them in every way",
    seen="the connections were accepted, and FINs and RSTs went out",
    params=(
        Param("connections", "connections", 20, 1, 500, "how many"),
        Param("seed", "", 1, 0, 2**31, "of the choices"),
    ),
    aimed=False,
)
async def storm(target: Target, **params: float) -> Proof | None:
    """Opens, half frames, pings, FINs and RSTs in an order that only the seed decides."""
    rng = random.Random(int(params["seed"]))
    proof: list[int] = []

    def note(entry_n: int) -> None:
        if len(proof) < 8:
            proof.append(entry_n)

    ends = 0
    with target.history.watch(
        lambda event: isinstance(event, TcpFin | TcpReset) and event.sender == "server",
        bound=2_000,
    ) as watch:
        for _ in range(int(params["connections"])):
            await _gust(target, rng)
        await target.server.aclose()
        while (seen := await watch.next(Event, timeout=0)) is not None:
            ends += 1
            note(seen[0])
    return Proof(f"{ends} ends of connections went out", tuple(proof)) if ends else None


async def _gust(target: Target, rng: random.Random) -> None:
    """One random step: open another connection, or do something to one that is open."""
    alive = [each for each in target.server.connections if not each.closed]
    if not alive or (len(alive) < 3 and rng.random() < 0.6):
        try:
            connection = await target.server.connect(answer_hello=rng.random() < 0.7, timeout=2.0)
        except ServerError:
            return  # the device is full for the moment: that is part of a storm
        if rng.random() < 0.9:
            connection.ask_upgrade()
        if rng.random() < 0.7:
            await connection.wait_upgrade(0.2)
        return
    victim = rng.choice(alive)
    match rng.randrange(6):
        case 0:
            victim.drop()
        case 1:
            victim.fin()
        case 2:
            victim.half_frame()
        case 3:
            victim.close_frame()
            victim.close()
        case 4:
            victim.torn_frame()
            victim.drop()
        case _:
            victim.ping(f"storm-{victim.conn}".encode())
            await victim.wait_hello(0.05)
