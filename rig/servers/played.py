"""aiosendspin in the scripted server's place: every scenario, played by a real server.

What it sends is its own. When it sends it is the scenario's: it asks and greets at once, and the
link's gate lets that through when told. Each connection is a server of its own (another identity,
another clock), so none of its dialling, back-off or memory carries over to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from rig.errors import ServerError
from rig.history import Entry, now_ns
from rig.history.events import Frame
from rig.history.events import Opcode as OpcodeName
from rig.protocol import generation_of
from rig.protocol.payload import payload_of
from rig.servers.connection import Connection
from rig.servers.engine import Clock, Engine, aiosendspin, check_installed, dialling, hang_up
from rig.servers.line import Entrance, Front, Unable
from rig.servers.performing import Performer, ReferencePerformer
from rig.servers.scripted import ScriptedServer
from rig.servers.unsealed import Unsealed

GREETING_S: Final = 0.5
"""How long aiosendspin may take to answer the device's opening message, if only at the gate."""
COLLECT_EVERY: Final = 8
"""Servers that are over before their garbage is collected, when all connections are closed."""
REMEMBERED: Final = 64
"""Identities of past connections that can be taken again."""
READY_S: Final = 5.0
"""How long a request to aiosendspin may wait for the device's part in the opening."""


class PlayedServer(ScriptedServer):
    """Opens connections of aiosendspin's over `path` (a `rig.link.Link`)."""

    def __init__(self, path: Front) -> None:
        """Nothing is dialled yet. Raises `BenchError` where aiosendspin is not installed."""
        check_installed()
        super().__init__(path)
        self.front = path
        self._session: Any = None
        self._identities: dict[str, Any] = {}
        self._past = 0
        self._closing: set[asyncio.Task[None]] = set()

    async def connect(
        self,
        *,
        server_id: str | None = None,
        name: str | None = None,
        connection_reason: str = "discovery",
        epoch_us: int | None = None,
        answer_hello: bool = False,
        answer_time: bool = True,
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        local_port: int | None = None,
    ) -> PlayedConnection:
        """Open a TCP connection for a new server of aiosendspin's; nothing is sent on it yet.

        As `ScriptedServer.connect`; raises `Unable` for a `server_id` that none of its earlier
        connections had (it is a public key), and for `answer_time=False`.
        """
        if server_id is not None and server_id not in self._identities:
            raise _unable("have an id of one's choice: it is a public key")
        if not answer_time:
            raise _unable("leave a client/time unanswered")
        engine = Engine(
            self.front.record,
            name=name or "Rig reference",
            session=self._client_session(),
            identity=self._identities.get(server_id or ""),
        )
        self._identities[engine.server_id] = engine.identity
        if len(self._identities) > REMEMBERED:
            self._identities.pop(next(iter(self._identities)))
        door = await self.front.door(
            server_id=engine.server_id,
            epoch_us=epoch_us,
            timeout=timeout,
            receive_buffer=receive_buffer,
            local_port=local_port,
        )
        connection = await PlayedConnection.enter(
            engine, door, connection_reason, answer_hello=answer_hello, retire=self._retire
        )
        self.connections = [each for each in self.connections if not each.closed]
        self.connections.append(connection)
        return connection

    def _client_session(self) -> Any:
        if self._session is None:
            self._session = dialling()
        return self._session

    def _retire(self, engine: Engine) -> None:
        """Close a server whose connection is over, in the background."""
        self._past += 1
        task = asyncio.get_running_loop().create_task(engine.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close every connection, and what became garbage by it.

        A server of aiosendspin's is a knot of cycles with megabytes of audio and encoders in it:
        few objects, for which Python's collector sees no need to run, and 17 MB a minute.
        """
        await super().aclose()
        if self._past >= COLLECT_EVERY:
            self._past = 0
            gc.collect()
            _give_back()

    async def retired(self) -> None:
        """Wait until the servers of past connections have closed (at most `CLOSE_S` each)."""
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.aclose()
        await self.retired()
        if self._session is not None:
            await hang_up(self._session)


class PlayedConnection(Connection):
    """One connection of aiosendspin's, with the scripted one's face.

    `Unable` is raised for what a real server never does; half frames, drops and silences are the
    link's.
    """

    _has_keys = False

    def __init__(
        self,
        engine: Engine,
        door: Entrance,
        connection_reason: str,
        *,
        answer_hello: bool,
        retire: Callable[[Engine], None],
    ) -> None:
        """Made by `enter`."""
        self.engine = engine
        self._gate = door.gate
        self._retire = retire
        self._url = ""
        self._acts: set[asyncio.Task[None]] = set()
        self._stirred: asyncio.Event = asyncio.Event()
        self._gate.on_held = self._stirred.set
        self._ended = False
        self._unsealed = Unsealed(door.wire, self._happened_inside)
        engine.unsealed.append(self._unsealed)
        super().__init__(
            door.wire,
            b"",
            name=engine.name,
            connection_reason=connection_reason,
            answer_hello=answer_hello,
            answer_time=True,
        )
        self.answer_fin = False  # aiosendspin does that

    @classmethod
    async def enter(
        cls,
        engine: Engine,
        door: Entrance,
        connection_reason: str,
        *,
        answer_hello: bool,
        retire: Callable[[Engine], None],
    ) -> Self:
        """Have `engine` connect through `door`, and be held at its gate."""
        reason = aiosendspin("models.types").ConnectionReason(connection_reason)
        wire = door.wire
        engine.conns = lambda: (wire.conn,)
        engine.start(Clock(wire.epoch_us, wire.born_ns))
        url = f"ws://127.0.0.1:{door.port}/sendspin"
        try:
            if wire.inbound:
                relay = await door.join_to(await engine.listen())
            else:
                engine.call(engine.server.connect_to_client, url, connection_reason=reason)
                relay = await door.join()
        except BaseException:
            wire.close()
            retire(engine)
            raise
        connection = cls(engine, door, connection_reason, answer_hello=answer_hello, retire=retire)
        connection._url = url
        engine.server.add_event_listener(lambda *_: connection._stirred.set())
        relay.start()
        return connection

    # -- opening ----------------------------------------------------------------------------

    def ask_upgrade(self, request: bytes | None = None) -> None:
        """Let aiosendspin's upgrade request through."""
        if request is not None:
            raise _unable("send an upgrade request of one's own")
        self._gate.let_head()

    def half_request(self) -> None:
        """Let the first half of its upgrade request through."""
        self._gate.let_half_head()

    async def wait_hello(self, timeout: float = 5.0) -> Frame | None:
        """The device's opening message, once aiosendspin's answer to it waits at the gate.

        So that what follows `greet` follows the greeting.
        """
        hello = await super().wait_hello(timeout)
        if hello is not None and not self.greeted:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GREETING_S):
                    while not (self._gate.answered or self.closed):
                        self._stirred.clear()
                        await self._stirred.wait()
        return hello

    async def introduce(self, timeout: float = 5.0) -> bool:
        """As `wait_hello`: all that follows the opening message is behind the gate."""
        return await self.wait_hello(timeout) is not None

    def greet(
        self, payload: Mapping[str, Any] | None = None, *, without: str | None = None, **fields: Any
    ) -> None:
        """Let its greeting through, and all that follows."""
        if payload is not None or without is not None or fields:
            raise _unable("greet in words of one's own")
        self.greeted += 1
        self._gate.open()

    async def client(self, timeout: float = READY_S) -> Any:
        """aiosendspin's `SendspinClient` for the device, once it is in use.

        Raises `ServerError` when it is not within `timeout` s, or the connection is over.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self.closed:
                    self._stirred.clear()
                    found = self.engine.server.connected_clients if self.engine.server else ()
                    if found:
                        return found[0]
                    await self._stirred.wait()
        except TimeoutError:
            pass
        raise ServerError(
            f"connection {self.conn}: the device did not get into use within {timeout:g} s",
            hint="`rig wire` shows what crossed",
        )

    async def performer(self) -> Performer:
        """aiosendspin plays to it. Raises `ServerError` when the device does not get into use."""
        return ReferencePerformer(self.engine, await self.client())

    # -- talking ----------------------------------------------------------------------------

    def act(self, what: Callable[[Any], Awaitable[None] | None]) -> None:
        """Do `what` to aiosendspin's client of the device as soon as it is in use; or never."""

        async def do() -> None:
            with contextlib.suppress(ServerError):
                done = what(await self.client())
                if done is not None:
                    await done

        if self.engine.server is None:
            return
        task = self.engine.task(do())
        self._acts.add(task)
        task.add_done_callback(self._acted)

    def _acted(self, task: asyncio.Task[None]) -> None:
        self._acts.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.engine.warned(f"aiosendspin could not do as asked: {error}")

    def command_volume(self, volume: int) -> None:
        """Have it ask for a volume."""

        def ask(client: Any) -> None:
            for role in client.roles_by_family("player"):
                role.set_player_volume(volume)

        self.act(ask)

    def say(self) -> None:
        """Have it rename the group, which it tells every member."""
        self.act(lambda client: client.group.set_group_name(f"Rig {now_ns() % 1000}"))

    def ping(self, data: bytes = b"") -> None:
        """Have its WebSocket send a ping."""
        self.act(lambda client: client.connection.websocket_connection.ping(data))

    def close_frame(self, code: int | None = 1000, reason: str = "") -> None:
        """Have it end the connection in order: Close 1000, then its end of TCP."""
        if code != 1000 or reason:
            raise _unable(f"close with the code {code}")
        self._gate.open()
        if self.engine.server is None:
            return
        if self.line.inbound:
            self.act(lambda client: client.connection.disconnect(retry_connection=False))
        else:
            self.engine.call(self.engine.server.disconnect_from_client, self._url)

    def torn_frame(self) -> None:
        """Have the link send the first byte of a frame, and no more."""
        self.line.stall()

    def send(self, kind: str, payload: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Not in its power."""
        raise _unable(f"send a {kind} of one's own")

    def send_frame(
        self,
        opcode: OpcodeName | int,
        data: bytes = b"",  # noqa: ARG002
        *,
        masked: bool = True,  # noqa: ARG002
        fin: bool = True,  # noqa: ARG002
        reserved: int = 0,  # noqa: ARG002
    ) -> None:
        """Not in its power."""
        raise _unable(f"send a {opcode} frame of one's own")

    def send_raw(self, data: bytes) -> None:  # noqa: ARG002
        """Not in its power."""
        raise _unable("send bytes of one's own")

    # -- hearing ----------------------------------------------------------------------------

    def _answer(self, frame: Frame) -> None:
        if self.hello is None and (generation := generation_of(frame.type)) is not None:
            self.generation = generation
            self.hello = frame
            if generation == "noise":  # else it is given no role; the device, too, must allow it
                self.engine.trusted.add(str(payload_of(frame).get("client_id")))
            if self.answer_hello and not self.greeted:
                self.greet()

    def _happened(self, entry: Entry) -> None:
        super()._happened(entry)
        self._unsealed.take(entry)
        self._stirred.set()
        if self.line.closed and not self._ended:
            self._ended = True
            self._over()

    def _over(self) -> None:
        """The connection is over: so is its server, which would dial again in a second."""
        for task in tuple(self._acts):
            task.cancel()
        if self.engine.server is not None:
            self.engine.call(self.engine.server.disconnect_from_client, self._url)
            self._retire(self.engine)


def _give_back() -> None:
    """Return freed memory to the system, where the C library can (glibc's `malloc_trim`).

    Audio is encoded in threads, each with an arena of its own that keeps what was freed.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _unable(what: str) -> Unable:
    return Unable(f"aiosendspin's server cannot {what}", hint="play it with --server scripted")
