"""One connection of the scripted server to the device: it does what it is told, right or wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from rig.history import Entry, now_ns
from rig.history.events import (
    ConnectionClosed,
    EarlyBytes,
    Frame,
    TcpFin,
    UpgradeAnswered,
    UpgradeAsked,
)
from rig.history.events import Opcode as OpcodeName
from rig.protocol import encode_close, encode_frame, generation_of, messages
from rig.protocol.handshake import upgrade_answer
from rig.protocol.names import GREETING, SERVER_GREETING, Generation
from rig.protocol.payload import payload_of
from rig.servers.inbox import Inbox
from rig.servers.line import Line
from rig.servers.performing import Performer, ScriptedPerformer
from rig.servers.sealing import Sealing

ANSWER_BOUND: Final = 65_536
"""Bytes waiting to be sent above which nothing more is answered by itself."""

EARLY_BOUND: Final = 32
"""Events before the upgrade answer that are kept beside the history."""


class Connection:
    """A connection to the device, with its own server id, name and clock.

    Switches, to be set at any time: `answer_hello` (greet as soon as the device does),
    `answer_time` (answer client/time), `answer_ping`, `answer_close`, `answer_fin` (end in order
    when the device ends). All waits take seconds and return None when they, or the connection, are
    over.

    `line` is the connection below, with every fault that the link can make. With a device of the
    noise generation `send` seals, and what is inside the device's frames is heard as its messages.
    """

    _has_keys = True
    """Whether a device of the noise generation is served by this object itself."""

    def __init__(
        self,
        line: Line,
        request: bytes,
        *,
        name: str,
        connection_reason: str,
        answer_hello: bool,
        answer_time: bool,
    ) -> None:
        """Take over `line`; `request` is the upgrade request that `ask_upgrade` sends."""
        self.line = line
        self.conn = line.conn
        self.server_id = line.server_id
        self.name = name
        self.connection_reason = connection_reason
        self.answer_hello = answer_hello
        self.answer_time = answer_time
        self.answer_ping = True
        self.answer_close = True
        self.answer_fin = True
        self.greeted = 0
        """How often this server has greeted."""
        self.hello: Frame | None = None
        """The device's opening message."""
        self.generation: Generation | None = None
        """The wire generation, once the device has opened."""
        self.early: list[EarlyBytes] = []
        """What came before the upgrade answer (bounded)."""
        self._request = request
        self._upgrade_due = False
        self._inbox = Inbox()
        self._sealing = Sealing(line, name) if self._has_keys else None
        self._commands: list[str] = []
        self._close_sent = False
        self._activation: Callable[[], None] | None = None
        line.on_event = self._happened
        line.start()

    # -- the clock --------------------------------------------------------------------------

    def clock_us(self, t: int | None = None) -> int:
        """This server's clock at monotonic `t` (ns), now by default: microseconds since its epoch.

        The epochs of two connections are far apart, so that a frame shows which one it belongs to.
        """
        return self.line.epoch_us + ((now_ns() if t is None else t) - self.line.born_ns) // 1_000

    # -- opening ----------------------------------------------------------------------------

    def ask_upgrade(self, request: bytes | None = None) -> None:
        """Send the upgrade request (or another one) and go on at once.

        Where the device dialled, its request is answered instead, as soon as it is there.
        """
        self._upgrade_due = True
        if not self.line.inbound:
            self.line.send(self._request if request is None else request)
        elif self.line.asked_key is not None:
            self.line.send(upgrade_answer(self.line.asked_key))

    async def upgrade(self, timeout: float = 5.0) -> int | None:
        """Ask for the upgrade and wait for the answer: its status."""
        self.ask_upgrade()
        return await self.wait_upgrade(timeout)

    async def wait_upgrade(self, timeout: float = 5.0) -> int | None:
        """The status of the upgrade answer."""
        answer = await self._inbox.next(UpgradeAnswered, timeout=timeout)
        return None if answer is None else answer.status

    async def wait_hello(self, timeout: float = 5.0) -> Frame | None:
        """The device's opening message; frames before it are passed over (the history has them)."""
        if self.hello is not None:
            return self.hello
        return await self._inbox.next(
            Frame,
            timeout=timeout,
            where=lambda frame: frame.sender == "device" and generation_of(frame.type) is not None,
        )

    async def served(self, timeout: float = 5.0) -> Frame | None:
        """Wait, once it is greeted, until the device has told its state: that message, if seen."""
        return await self.expect("client/state", timeout)

    def half_request(self) -> None:
        """Send the first half of the upgrade request (or the answer) and no more."""
        if self.line.inbound:
            answer = upgrade_answer(self.line.asked_key or "")
            self.line.send(answer[: len(answer) // 2])
            return
        self.line.send(self._request[: len(self._request) // 2])

    async def introduce(self, timeout: float = 5.0) -> bool:
        """Noise: shake hands and exchange hellos, up to the activation; legacy: nothing to do.

        Whether the device played its part within `timeout` s of each step that is waited for.
        """
        if await self.wait_hello(timeout) is None:
            return False
        if self.generation != "noise":
            return True
        self._challenge()
        if self.introduction is None:
            await self.expect(GREETING, timeout)
        return self.introduction is not None

    @property
    def introduction(self) -> Frame | None:
        """The device's client/hello, sealed or not, once it is here."""
        if self.generation == "noise":
            return self._sealing.hello if self._sealing is not None else None
        return self.hello

    def _challenge(self) -> None:
        if self.hello is not None and self._sealing is not None:
            self._sealing.challenge(self.hello)

    def greet(
        self, payload: Mapping[str, Any] | None = None, *, without: str | None = None, **fields: Any
    ) -> None:
        """Let the device in: legacy server/hello; noise server/activate, after all before it.

        `fields` change single fields (`version=2`), `without` leaves one out, `payload` replaces
        all of it. In noise it goes out as soon as the device has said hello.
        """
        if self.generation == "noise" and self.introduction is None:
            self._activation = partial(self._greet, payload, without, fields)
            self._challenge()
            return
        self._greet(payload, without, fields)

    def _greet(
        self, payload: Mapping[str, Any] | None, without: str | None, fields: Mapping[str, Any]
    ) -> None:
        if payload is None and self._sealing is not None and self.generation == "noise":
            payload = self._sealing.activation(self.connection_reason)
        elif payload is None:
            payload = messages.server_hello(
                self.server_id, self.name, connection_reason=self.connection_reason
            )
        body = {key: value for key, value in payload.items() if key != without} | dict(fields)
        self.greeted += 1
        self.send("server/activate" if self.generation == "noise" else SERVER_GREETING, body)

    # -- talking ----------------------------------------------------------------------------

    def send(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Send a message: as JSON text, or sealed where the channel is."""
        if self._sealing is not None and self._sealing.ready:
            self._sealing.send(messages.encode(kind, payload))
        else:
            self.send_text(messages.encode(kind, payload))

    def send_audio(self, timestamp_us: int, data: bytes) -> None:
        """Send a chunk of audio to be heard at `timestamp_us` of this server's clock."""
        if self._sealing is not None and self._sealing.ready:
            ahead = max(0, timestamp_us - self.clock_us())
            chunk = messages.media(timestamp_us, data, send_ahead_us=ahead)
            self._sealing.send(chunk[1:], message_id=chunk[0])
        else:
            self.send_binary(messages.media(timestamp_us, data))

    def command_volume(self, volume: int) -> None:
        """Set the player's volume, 0 to 100; a device answers with a client/state that shows it."""
        self.send("server/command", messages.volume_command(volume))

    def send_text(self, data: bytes | str) -> None:
        """Send a text frame, never sealed, with any content, JSON or not, UTF-8 or not."""
        self.send_frame("text", data.encode() if isinstance(data, str) else data)

    def send_binary(self, data: bytes) -> None:
        """Send a binary frame, as it is."""
        self.send_frame("binary", data)

    def say(self) -> None:
        """Send a message of no consequence."""
        self.send("server/state", {})

    def ping(self, data: bytes = b"") -> None:
        """Send a ping; the pong comes as a `Frame`."""
        self.send_frame("ping", data)

    def close_frame(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a WebSocket Close; the connection stays until an end is given to it."""
        self._close_sent = True
        self.line.send(encode_close(code, reason, mask=os.urandom(4)))

    def send_frame(
        self,
        opcode: OpcodeName | int,
        data: bytes = b"",
        *,
        masked: bool = True,
        fin: bool = True,
        reserved: int = 0,
    ) -> None:
        """Send one frame of any kind, also such as none may send."""
        mask = os.urandom(4) if masked else None
        self.line.send(encode_frame(opcode, data, mask=mask, fin=fin, reserved=reserved))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.line.send(data)

    def half_frame(self) -> None:
        """Send the first byte of a text frame and no more: the device's server task waits in it."""
        self.line.stall()

    def torn_frame(self) -> None:
        """Send the first three bytes of a text frame; what follows is up to the caller."""
        self.line.send(encode_frame("text", b"{", mask=b"\0\0\0\0", fin=False)[:3])

    # -- hearing ----------------------------------------------------------------------------

    async def expect(self, kind: str, timeout: float = 5.0) -> Frame | None:
        """The device's next message of type `kind`; those before it are passed over."""
        return await self._inbox.next(
            Frame,
            timeout=timeout,
            where=lambda frame: frame.sender == "device" and frame.type == kind,
        )

    async def expect_pong(self, data: bytes, timeout: float = 5.0) -> Frame | None:
        """The device's answer to the ping that carried `data` (at most 125 bytes)."""
        return await self._inbox.next(
            Frame,
            timeout=timeout,
            where=lambda frame: (
                frame.sender == "device" and frame.opcode == "pong" and frame.head == data.hex()
            ),
        )

    async def expect_state(self, *, timeout: float = 5.0, **player: object) -> Frame | None:
        """The device's next client/state whose player shows these values (`volume=30`)."""

        def shows(frame: Frame) -> bool:
            if frame.sender != "device" or frame.type != "client/state":
                return False
            return player.items() <= _player(frame).items()

        return await self._inbox.next(Frame, timeout=timeout, where=shows)

    @property
    def commands(self) -> list[str]:
        """The player commands the device takes, as its hello (legacy) or its state (noise) says."""
        return self._commands

    async def expect_frame(
        self, opcode: OpcodeName | None = None, timeout: float = 5.0
    ) -> Frame | None:
        """The device's next frame, or its next with this opcode."""
        return await self._inbox.next(
            Frame,
            timeout=timeout,
            where=lambda frame: frame.sender == "device" and opcode in (None, frame.opcode),
        )

    async def expect_fin(self, timeout: float = 5.0) -> bool:
        """Whether the device ends its half within `timeout`."""
        fin = await self._inbox.next(
            TcpFin, timeout=timeout, where=lambda event: event.sender == "device"
        )
        return fin is not None

    async def wait_closed(self, timeout: float = 5.0) -> str | None:
        """Wait until nothing more comes: the reason."""
        if self._inbox.closed is None:
            await self._inbox.next(ConnectionClosed, timeout=timeout)
        end = self._inbox.closed
        return end.event.reason if end and isinstance(end.event, ConnectionClosed) else None

    @property
    def closed(self) -> bool:
        """Whether nothing more comes on this connection."""
        return self.line.closed

    def _happened(self, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, Frame) and event.sender == "device":
            self._note(event)
            self._answer(event)
        elif isinstance(event, UpgradeAsked):
            self._asked()
        elif isinstance(event, EarlyBytes) and len(self.early) < EARLY_BOUND:
            self.early.append(event)
        elif isinstance(event, TcpFin) and event.sender == "device" and self.answer_fin:
            self.line.fin()
        if getattr(event, "sender", "device") == "device":
            self._inbox.put(entry)
        plain = self._sealing.take(entry) if self._sealing is not None else None
        if plain is not None:
            self._happened_inside(plain)

    def _happened_inside(self, entry: Entry) -> None:
        """What was inside a sealed frame is heard like any message."""
        event = entry.event
        if isinstance(event, Frame) and event.sender == "device":
            self._note(event)
            self._answer(event)
            self._inbox.put(entry)

    def _asked(self) -> None:
        """An upgrade request has crossed; if it is the device's and due, it is answered."""
        if self.line.inbound and self._upgrade_due:
            self.line.send(upgrade_answer(self.line.asked_key or ""))

    def _note(self, frame: Frame) -> None:
        if frame.type in ("client/hello", "client/state"):
            told = _player(frame).get("supported_commands")
            self._commands = [*map(str, told)] if isinstance(told, list) else self._commands

    def _answer(self, frame: Frame) -> None:
        if self.hello is None and (generation := generation_of(frame.type)) is not None:
            self.generation = generation
            self.hello = frame
        if self.line.backlog > ANSWER_BOUND:
            return  # it asks and does not read
        inside = frame.sealed is not None
        if inside and frame.type == GREETING and self._activation is not None:
            activate, self._activation = self._activation, None
            activate()
        elif not inside and frame is self.hello and self.answer_hello and not self.greeted:
            self.greet()
        elif frame.type == "client/time" and self.answer_time:
            self._answer_time(frame)
        elif frame.opcode == "close" and self.answer_close and not self._close_sent:
            self.close_frame(1000)
        elif frame.opcode == "ping" and self.answer_ping and frame.head is not None:
            self.send_frame("pong", bytes.fromhex(frame.head))

    def _answer_time(self, frame: Frame) -> None:
        sent = payload_of(frame).get("client_transmitted")
        if isinstance(sent, int):
            received = self.clock_us(frame.t)
            self.send("server/time", messages.server_time(sent, received, self.clock_us()))

    # -- ending -----------------------------------------------------------------------------

    def drop(self) -> None:
        """Drop the connection with a RST."""
        self.line.rst()

    def fin(self) -> None:
        """End this server's half in order; go on hearing the device."""
        self.line.fin()

    async def performer(self) -> Performer:
        """Who plays to the device over this connection, which is in use. Raises `ServerError`."""
        return ScriptedPerformer(self)

    @property
    def waiting(self) -> int:
        """Bytes that wait to be sent."""
        return self.line.backlog

    def close(self) -> None:
        """Close the socket, whatever the device does."""
        self.line.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def _player(frame: Frame) -> dict[str, Any]:
    """The player's part of a client/hello or client/state, as far as there is one."""
    body = payload_of(frame)
    player = body.get("player", body.get("player@v1_support"))
    return player if isinstance(player, dict) else {}
