"""The reference server: aiosendspin in front of one device, every byte of it through the link.

It is an optional part (`pip install 'sendspin-rig[reference]'`), so it is imported on first use.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self

from rig.errors import ServerError
from rig.history import Entry, Event
from rig.history.events import Frame, UpgradeAnswered, UpgradeAsked
from rig.protocol import generation_of
from rig.protocol.payload import payload_of
from rig.servers.engine import Clock, Engine, aiosendspin
from rig.servers.line import Front, Relayed
from rig.servers.performing import ReferencePerformer
from rig.servers.unsealed import Unsealed
from rig.servers.vault import Vault

EPOCH_US: Final = 2_000_000_000_000_000
"""The server's clock at the host's boot, in us: 63 years, so that no device's uptime is near it."""

MOST_HEARD: Final = 8
"""Connections, the newest, of which it records what is sealed."""
STATE_S: Final = 3.0
"""How long a device may take to tell its state once it is given its roles."""
_NOT_TOGETHER: Final = "all are in use, but not in one group (do two say the same client_id?)"


@dataclass(slots=True)
class _Seen:
    """Who a device says it is, and how far it came on its latest connection."""

    client_id: str | None = None
    status: int | None = None
    first: str | None = None

    def take(self, event: Event) -> None:
        match event:
            case UpgradeAsked():
                self.status = self.first = None
            case UpgradeAnswered(status=status):
                self.status = status
            case Frame(sender="device", type=kind, opcode=opcode) as frame:
                self.first = self.first or kind or f"a {opcode} frame"
                if generation_of(kind) is not None:
                    self.client_id = str(payload_of(frame).get("client_id"))
            case _:
                pass

    def words(self) -> str:
        """As a half sentence about the device."""
        if self.status is None:
            return "did not answer the upgrade request"
        if self.status != 101:
            return f"answered the upgrade with {self.status}"
        if self.first is None:
            return "said nothing after the upgrade (expected client/hello or client/init)"
        if generation_of(self.first) is None:
            return f"began with {self.first} (expected client/hello or client/init)"
        return f"began with {self.first}, and did not get into use"


class ReferenceServer:
    """aiosendspin's server for the devices at the ends of `link` and `others`, all in one group.

    An async context manager. Each has an identity of its own unless one is given, so a new one is
    another server to a device. Legacy devices (client/hello first, unencrypted) are served where
    `allow_unencrypted`.
    """

    def __init__(
        self,
        link: Front,
        *others: Front,
        name: str = "Rig reference",
        allow_unencrypted: bool = True,
        vault: Vault | None = None,
    ) -> None:
        """Nothing is dialled yet. `vault` holds its identity and what it is paired with.

        Raises `BenchError` where aiosendspin is not installed.
        """
        self.link = link
        self.links = (link, *others)
        self._urls: list[str] = []
        self._clock = Clock(EPOCH_US)
        self._engine = Engine(
            self._record,
            name=name,
            allow_unencrypted=allow_unencrypted,
            identity=vault.identity if vault else None,
            store=vault.store if vault else None,
        )
        self._engine.conns = lambda: tuple(link.relays) if not others else ()
        self.server_id = self._engine.server_id
        self._stirred = asyncio.Event()
        self._performer: ReferencePerformer | None = None
        self._receiving: list[asyncio.Task[None]] = []
        self._seen = {each.board: _Seen() for each in self.links}

    def _record(self, event: Event) -> int:
        """What the server says goes into the history of each board: it does not say of whom."""
        numbers = [link.record(event) for link in self.links]
        return numbers[0]

    async def __aenter__(self) -> Self:
        self._engine.start(self._clock)
        self._server.add_event_listener(self._stir)
        for link in self.links:
            link.on_relay = partial(self._joined, link)
            if link.inbound:
                port = await self._engine.listen()
                self._receiving.append(asyncio.create_task(self._receive(link, port)))
            else:
                self._urls.append(
                    await link.listen(server_id=self.server_id, clock_us=self._clock.now_us)
                )
        return self

    async def _receive(self, link: Front, port: int) -> None:
        """Take a device that dials, whenever it does."""
        while True:
            try:
                door = await link.door(server_id=self.server_id, clock_us=self._clock.now_us)
                relay = await door.join_to(port)
            except ServerError:
                continue  # it has not dialled yet
            door.gate.open()
            self._joined(link, relay)
            relay.start()

    @property
    def _server(self) -> Any:
        return self._engine.server

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for task in self._receiving:
            task.cancel()
        await asyncio.gather(*self._receiving, return_exceptions=True)
        try:
            await self.stop()
        finally:
            await self._engine.close()

    def _stir(self, *_of: object) -> None:
        self._stirred.set()

    def _joined(self, link: Front, relay: Relayed) -> None:
        unsealed = Unsealed(relay.wire, self._stir)
        self._engine.unsealed = [*self._engine.unsealed[-MOST_HEARD:], unsealed]

        def happened(entry: Entry) -> None:
            unsealed.take(entry)
            self._seen[link.board].take(entry.event)
            self._stir()

        relay.wire.on_event = happened

    async def _until(self, connected: bool) -> None:
        """Wait until `connected`. aiosendspin tells of no device's being ready, but it is ready
        before the frame that says so to the device has crossed the link."""
        while len(self._clients()) != (len(self.links) if connected else 0):
            self._stirred.clear()
            await self._stirred.wait()

    # -- the connection ---------------------------------------------------------------------

    async def connect(
        self, *, reason: Literal["discovery", "playback"] = "discovery", timeout: float = 10.0
    ) -> str:
        """Dial the devices (at once, whatever back-off waits) until each is greeted, in one group.

        The first one's client_id is returned.

        Raises `ServerError` when that takes longer than `timeout` seconds.
        """
        types = aiosendspin("models.types")
        try:
            async with asyncio.timeout(timeout):
                for url in self._urls:
                    await self._engine.task(
                        self._server.connect_to_client_and_wait(
                            url, connection_reason=types.ConnectionReason(reason)
                        )
                    )
                    self._engine.call(self._server.connect_to_client, url)
                await self._until(connected=True)
                await self._group()
        except TimeoutError as error:
            late = [link.board for link in self.links if self._client_of(link.board) is None]
            seen = "; ".join(f"{board} {self._seen[board].words()}" for board in late)
            warned = self._engine.last_warning
            raise ServerError(
                f"not served within {timeout:g} s: {seen or _NOT_TOGETHER}"
                + (f" (the server said: {warned})" if warned else ""),
                hint="`rig wire` shows what crossed; see also the device's serial log",
            ) from error
        except Exception as error:
            if not type(error).__module__.startswith("aiohttp."):
                raise
            raise ServerError(
                f"the reference server could not connect to {self.link.board}: {error}",
                hint="has it booted, and is the path of its Sendspin endpoint right?",
            ) from error
        return self.client_id

    async def _group(self) -> None:
        """All devices play together."""
        first, *more = self._clients()
        for client in more:
            await self._engine.task(first.group.add_client(client))

    async def leave(self, board: str) -> None:
        """Take a device out of the group that plays, into one of its own. Raises `ServerError`."""
        client = self._of(board)
        await self._engine.task(client.group.remove_client(client))

    async def join(self, board: str) -> None:
        """Put a device into the group of the first one, whatever plays. Raises `ServerError`."""
        client = self._of(board)
        others = [each for each in self._clients() if each is not client]
        if others:
            await self._engine.task(others[0].group.add_client(client))

    def groups(self) -> list[list[str]]:
        """Which boards are together, by their names."""
        names = {seen.client_id: board for board, seen in self._seen.items()}
        found: dict[str, list[str]] = {}
        for client in self._clients():
            board = names.get(str(client.client_id), str(client.client_id))
            found.setdefault(client.group.group_id, []).append(board)
        return list(found.values())

    def _client_of(self, board: str) -> Any:
        """aiosendspin's client for a board; None: it is not in use, or there is no such board."""
        known = self._seen[board].client_id if board in self._seen else None
        return next((each for each in self._clients() if str(each.client_id) == known), None)

    def _of(self, board: str) -> Any:
        client = self._client_of(board)
        if client is None:
            known = ", ".join(self._seen)
            raise ServerError(f"no board '{board}' is connected", hint=f"one of {known}")
        return client

    def _clients(self) -> list[Any]:
        return list(self._server.connected_clients) if self._server is not None else []

    @property
    def connected(self) -> bool:
        """Whether a device is in a greeted connection now."""
        return bool(self._clients())

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
        """Trust the connected devices unpaired: without it a Noise device is given no role.

        What they take is known after it, from their state: it is waited for, for `STATE_S`.

        Legacy devices and paired ones need none. The device, too, must allow unpaired access.
        """
        for client in self._clients():
            if client.connection_security is not None and not client.is_paired:
                await self._engine.task(self._server.trust_unpaired(client.client_id))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STATE_S):
                while any(client.awaits_role_state("player") for client in self._clients()):
                    self._stirred.clear()
                    await self._stirred.wait()

    async def pair(self, ask: Callable[[], Awaitable[str]], *, shown: bool = False) -> None:
        """Pair with the first device by a code that `ask` gives: one printed on it, or one that it
        shows once it is asked to (`shown`). What both agree on goes to the vault.

        Raises `ServerError` when they do not agree.
        """
        pairing = aiosendspin("noise.pairing")
        types = aiosendspin("models.types")
        methods = types.PairMethod
        attempt = pairing.PairingAttempt(
            method=methods.DYNAMIC_PAIRING_CODE if shown else methods.STATIC_PAIRING_CODE,
            pairing_code_provider=ask,
            pairing_format=types.PairingCodeFormat.DIGITS if shown else None,
        )
        try:
            await self._engine.task(self._server.initiate_pairing(self.client_id, attempt))
        except (pairing.PairingError, ValueError) as error:
            raise ServerError(
                f"{self.link.board} could not be paired: {error or type(error).__name__}",
                hint="is the code right, and does the device offer this way of pairing?",
            ) from error

    @property
    def paired(self) -> bool:
        """Whether the first device is paired with this server."""
        return bool(self._client().is_paired)

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

    def performer(self) -> ReferencePerformer:
        """Who plays to the first device's group, which all are in. Raises `ServerError`."""
        if self._performer is None:
            self._performer = ReferencePerformer(self._engine, self._client())
        return self._performer

    def set_volume(self, volume: int) -> None:
        """Ask every device for a volume, 0 to 100; each answers with its state."""
        self._client()
        for client in self._clients():
            for role in client.roles_by_family("player"):
                self._engine.call(role.set_player_volume, volume)

    async def stop(self) -> None:
        """End what plays. Raises `ServerError` with what ended it before."""
        performer, self._performer = self._performer, None
        if performer is not None:
            await performer.pause()
