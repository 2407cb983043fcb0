"""What a scenario plays on: the board, a scripted server, faults, and what was learned of both.

Everything here waits on events with deadlines. The one thing that is not an event is a turn of the
device's main loop, which it tells nobody of: `step` lets it turn, for as long as was learned.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from rig.air.airspace import Airspace
from rig.boards.base import Board
from rig.boards.booting import boot_board
from rig.errors import FaultError, ServerError
from rig.faults import Proof, Target, strike
from rig.history import HistoryStore, now_ns
from rig.history.events import ConnectFailed, Held, Settled, SocketSeen, Talked
from rig.scenarios.device import Device
from rig.servers import Connection, ScriptedServer

SETTLE_S = 6.5
"""The longest a device may take to notice that its peers are gone: `recv_wait_timeout` is 5 s."""

DIAL_S = 3.0
"""How long a connection may take to be accepted and upgraded while nothing holds the device up."""

_TRIES = 3
"""A device may close a young connection in error (ESP-IDF's late close of a reused slot): retry."""


class Lacking(Exception):
    """The bench lacks what a scenario needs: it is inconclusive, and says what is missing."""


class Sockets:
    """The device's open sockets, as its serial log tells of them."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        """Event number of the opening by socket number."""
        self.told = 0
        self._emptied = asyncio.Event()

    def take(self, n: int, event: SocketSeen) -> None:
        """Account for one line of the log."""
        if event.fd is None:
            return
        if event.op == "opened":
            self.told += 1
            self.open[event.fd] = n
        elif event.op == "closed":
            self.open.pop(event.fd, None)
            if not self.open:
                self._emptied.set()

    def forget(self) -> None:
        """The device booted: all sockets are gone."""
        self.open.clear()
        self._emptied.set()

    async def emptied(self, timeout: float) -> bool:
        """Wait until none is open, at most `timeout` s."""
        try:
            async with asyncio.timeout(timeout):
                while self.open:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            return False
        return True


@dataclass(slots=True)
class Stage:
    """One scenario's surroundings. `cycle` counts from 1."""

    board: Board
    server: ScriptedServer
    history: HistoryStore
    device: Device
    sockets: Sockets
    rng: random.Random
    cycle: int = 1
    memory: dict[str, object] = field(default_factory=dict)
    """What a scenario keeps from cycle to cycle."""
    swallow: Collection[str] = ()
    """Faults that are made to miss, to test the rig itself."""
    air: Airspace | None = None
    """The air around the board, for faults on packets."""
    seconds: float | None = None
    """How long a scenario without an end of its own goes on; None: as it likes."""

    # -- connections ------------------------------------------------------------------------

    async def connect(
        self, *, upgrade: bool = True, reason: str = "discovery", server_id: str | None = None
    ) -> Connection:
        """A connection, upgraded unless told otherwise; nothing is greeted.

        `server_id` is an earlier connection's: the same server again.

        Raises `ServerError` when the device does not take it, after recording `ConnectFailed`.
        """
        connection = None
        try:
            connection = await self.server.connect(
                server_id=server_id, connection_reason=reason, timeout=DIAL_S
            )
            if upgrade and (status := await connection.upgrade(DIAL_S)) != 101:
                raise ServerError(
                    f"connection {connection.conn}: expected the upgrade answer 101 within "
                    f"{DIAL_S:g} s, the device gave {status or 'none'}",
                    hint="see the serial log of the run",
                )
        except ServerError as error:
            self.history.append(
                ConnectFailed(
                    t=now_ns(),
                    board=self.board.name,
                    server_id=connection.server_id if connection else "",
                    error=error.message,
                )
            )
            if connection is not None:
                connection.close()
            raise
        return connection

    async def hello(self, *, reason: str = "discovery", server_id: str | None = None) -> Connection:
        """A connection that the device has greeted, and that has not greeted back.

        It is held until then. One that the device ends is tried again. Raises `ServerError`.
        """
        for _ in range(_TRIES):
            connection = await self.connect(reason=reason, server_id=server_id)
            if await self.hold(connection):
                return connection
            if not connection.closed:
                break
        raise ServerError(
            f"connection {connection.conn} was never greeted",
            hint="the check greeted_in_time says what was waited for",
        )

    async def serve(self, *, reason: str = "discovery", server_id: str | None = None) -> Connection:
        """A connection in use: greeted both ways, and the device has told its state."""
        connection = await self.hello(reason=reason, server_id=server_id)
        connection.greet()
        await connection.served(self.device.greet_within)
        return connection

    async def hold(self, connection: Connection) -> bool:
        """Only wait on `connection` from here on: whether it is greeted in time.

        In the noise generation the hellos are exchanged too: there a stray frame is one that the
        handshake or the seal does not survive.
        """
        within = self.device.greet_within
        self.history.append(Held(t=now_ns(), conn=connection.conn, within_s=within))
        return await connection.introduce(within)

    async def greeted_anew(self) -> None:
        """A new server, dialled at once and only waited on: whether the device greets it."""
        again = await self.connect(upgrade=False)
        if await again.upgrade(DIAL_S) == 101:
            await self.hold(again)

    async def probe(self) -> bool:
        """Whether the device serves a new connection: the end of every cycle."""
        try:
            connection = await self.serve()
        except ServerError:
            return False
        await self.end(connection)
        return True

    async def end(self, connection: Connection) -> None:
        """End a connection in order, as a server that goes away does."""
        if connection.closed:
            return
        await self.quiet(connection)
        connection.close_frame(1000)
        await connection.expect_fin(1.0)
        connection.fin()
        if await connection.wait_closed(1.0) is None:
            connection.close()
        await self.step()

    # -- time -------------------------------------------------------------------------------

    async def quiet(self, connection: Connection) -> None:
        """Let the device say what it is about to say: at an end in order its queue is empty.

        Its next client/time waits for the answer to the one before, which it does not get.
        """
        connection.answer_time = False
        await asyncio.sleep(2 * self.device.turn)

    async def step(self, steps: float = 1.0) -> None:
        """Let the device's main loop turn (see the module's docstring)."""
        await asyncio.sleep(steps * self.device.step)

    async def settle(self) -> None:
        """Close every connection, wait until the device has noticed, and let its loop turn.

        What it does not tell (a build without D lines) is given the time of a turn.
        """
        begun = now_ns()
        await self.calm()
        await self.server.aclose()
        if self.device.tells_sockets:
            await self.sockets.emptied(SETTLE_S)
        await self.step()
        after = (now_ns() - begun) / 1e9
        self.history.append(Settled(t=now_ns(), board=self.board.name, after_s=round(after, 3)))

    async def reboot(self) -> None:
        """Reset the board and wait until it is in service. Raises `BoardError`, `Lacking`."""
        if not self.board.can_reset:
            raise Lacking(f"the bench does not say how {self.board.name} is reset")
        await self.server.aclose()
        await boot_board(self.board, self.history)
        self.sockets.forget()

    # -- faults -----------------------------------------------------------------------------

    async def strike(
        self,
        fault: str,
        connection: Connection | None = None,
        *,
        act: Callable[[], Awaitable[None]] | None = None,
        params: Mapping[str, float] | None = None,
    ) -> Proof | None:
        """Do a fault and wait for its proof (see `rig.faults.strike`)."""
        target = Target(
            history=self.history,
            board=self.board,
            server=self.server,
            connection=connection,
            act=act,
            tells_sockets=self.device.tells_sockets,
            swallow=self.swallow,
            air=self.air,
        )
        return await strike(fault, target, **(params or {}))

    async def calm(self) -> None:
        """Take back every fault on packets."""
        if self.air is not None:
            await self.air.heal()

    async def need_air(self) -> Airspace:
        """The air, open. Raises `Lacking` when no fault on packets can be made here."""
        if self.air is None:
            raise Lacking("there is no air around this board")
        try:
            await self.air.open()
        except FaultError as error:
            raise Lacking(f"no faults on packets: {error.message}; {error.hint or ''}") from error
        return self.air

    def need_talk(self) -> None:
        """Raises `Lacking` when the board cannot be made to talk by itself."""
        if not self.board.can_talk:
            raise Lacking(
                f"the bench does not say how {self.board.name} is made to talk by itself: add "
                "talk = 'bytes for the console with {n}' (or a command) to its table"
            )

    async def talk(self, count: int) -> None:
        """Make the device queue `count` states by itself, where it can be."""
        if self.board.can_talk:
            await self.board.talk(count)
            self.history.append(Talked(t=now_ns(), board=self.board.name, count=count))


__all__ = ["FaultError", "Lacking", "Sockets", "Stage"]
