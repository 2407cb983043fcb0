"""Learning a device before anything is done to it: hello delay, loop turn, sessions, log."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from rig.errors import ServerError
from rig.history import now_ns
from rig.history.events import Held, Learned
from rig.scenarios.device import Device
from rig.scenarios.stage import Stage

TRIES = 3
MOST_SESSIONS = 8
_PATIENCE_S = 2.5
_LAST_S = 5.5
"""The same for the last try's noise handshake: longer than a step of it may take (5 s)."""
OWN_MESSAGES_S = 12.0
"""Within what a device sends client/time of its own accord: sendspin-cpp begins 10 s after boot."""


async def learn(stage: Stage) -> Device:
    """Measure the device on `stage`, which begins to use it at once; recorded as `Learned`.

    Raises `ServerError` when the device does not serve even an undisturbed connection.
    """
    await stage.step()
    for _ in range(TRIES):
        await _conversation(stage)
    await stage.settle()
    sessions = 1 if stage.server.path.inbound else await _sessions(stage)
    await stage.settle()
    stage.device = replace(stage.device, sessions=sessions, tells_sockets=stage.sockets.told > 0)
    device = stage.device
    for name, value, unit in (
        ("noise", float(device.generation == "noise"), "0 or 1"),
        ("hello_delay", device.hello_delay, "s"),
        ("turn", device.turn, "s"),
        ("step", device.step, "s"),
        ("sessions", float(sessions), "connections"),
        ("tells_sockets", float(device.tells_sockets), "0 or 1"),
    ):
        stage.history.append(
            Learned(t=now_ns(), board=stage.board.name, name=name, value=value, unit=unit)
        )
    return device


async def own_messages(stage: Stage) -> bool:
    """Wait until the device sends client/time of its own accord: whether it does; `Learned` says.

    Before that hardly anything is in its queue that a drop could leave behind.
    """
    told = False
    with contextlib.suppress(ServerError):
        connection = await stage.serve()
        told = await connection.expect("client/time", OWN_MESSAGES_S) is not None
    await stage.settle()
    stage.history.append(
        Learned(
            t=now_ns(),
            board=stage.board.name,
            name="own_messages",
            value=float(told),
            unit="0 or 1",
        )
    )
    return told


async def _conversation(stage: Stage) -> None:
    """Connect, be greeted, greet, be told the state, end in order; keep the times.

    A device that is slow to let go of the connection before may miss one: it is tried again.
    """
    for left in reversed(range(TRIES)):
        connection = await stage.connect()
        upgraded = now_ns()
        if not left:  # nothing else is open any more: now it ought to be greeted
            within = Held(t=now_ns(), conn=connection.conn, within_s=_PATIENCE_S)
            stage.history.append(within)
        hello = await connection.wait_hello(_PATIENCE_S)
        patience = _PATIENCE_S if left else _LAST_S
        if hello is not None and await connection.introduce(patience):
            break
        if left:
            await stage.settle()
    else:
        raise ServerError(
            f"connection {connection.conn}: the device answered the upgrade and did not complete "
            f"its opening within {_PATIENCE_S:g} s, {TRIES} times, with nobody disturbing it",
            hint="is this a Sendspin device? `rig wire` and the serial log of the run show more",
        )
    delays = (*stage.device.hello_delays, max(0, hello.t - upgraded) / 1e9)
    connection.greet()
    greeted = now_ns()
    state = await connection.served(2.0)
    turns = stage.device.turns
    if state is not None:
        turns = (*turns, (state.t - greeted) / 1e9)
    stage.device = replace(
        stage.device,
        hello_delays=delays,
        turns=turns,
        tells_sockets=stage.sockets.told > 0,
        generation=connection.generation,
    )
    await stage.end(connection)


async def _sessions(stage: Stage) -> int:
    """How many connections the device upgrades at once (at most `MOST_SESSIONS` are tried)."""
    upgraded = 0
    for _ in range(MOST_SESSIONS):
        try:
            connection = await stage.server.connect(timeout=1.0)
        except ServerError:
            break
        if await connection.upgrade(max(0.3, 4 * stage.device.turn)) != 101:
            break
        upgraded += 1
    return upgraded
