"""A scripted connection's noise channel: the opening, the seals, and the record of what is inside.

The tap sees ciphertext. What this server itself reads and writes is recorded beside it, as `Frame`
events that name the frame they were sealed in; the keys are not.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from rig.history import Entry, now_ns
from rig.history.events import Frame, LinkEffect, SealBroken
from rig.protocol import FrameReader, RawFrame, encode_frame, messages
from rig.protocol.handshake import HEAD_BOUND, HEAD_END
from rig.protocol.names import GREETING
from rig.protocol.payload import payload_of, sealed_event
from rig.protocol.sealed import JSON_ID, SealError, ServerChannel
from rig.servers.line import Line

BOUND = 4096
"""Sealed frames on their way whose plaintext is still to be recorded."""


class Sealed:
    """The device's binary frames with their whole payloads, which no event carries."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._reader: FrameReader | None = None
        self._frames: deque[RawFrame] = deque(maxlen=BOUND)
        self._message: bytearray | None = None

    def feed(self, data: bytes) -> None:
        """Bytes of the device, from the connection's first on."""
        if self._reader is None:
            self._head += data
            end = self._head.find(HEAD_END, max(0, self._head.find(b"HTTP/1.")))
            if end < 0:
                del self._head[: -2 * HEAD_BOUND]
                return
            self._reader = FrameReader(keep=65_535)
            data = bytes(self._head[end + len(HEAD_END) :])
            self._head.clear()
        for frame in self._reader.feed(data):
            if frame.opcode in ("binary", "continuation"):
                self._frames.append(frame)

    def message(self, opcode: str) -> bytes | None:
        """The binary message that the next frame (`opcode`) completes; None: none."""
        if opcode not in ("binary", "continuation") or not self._frames:
            return None
        frame = self._frames.popleft()
        if frame.opcode == "binary":
            self._message = bytearray()
        if self._message is None:
            return None
        self._message += frame.payload
        if not frame.fin or len(self._message) > 65_535:
            return None
        whole, self._message = bytes(self._message), None
        return whole


class Sealing:
    """The server's end of the noise generation on `line`."""

    def __init__(self, line: Line, name: str) -> None:
        """`name` is what the server calls itself in its hello."""
        self.challenged = False
        """Whether the client/init was answered."""
        self.hello: Frame | None = None
        """The device's client/hello, from inside the seal."""
        self._line = line
        self._name = name
        self._channel = ServerChannel(line.server_id)
        self._on_their_way: deque[tuple[int, bytes] | None] = deque(maxlen=BOUND)
        self._payloads = Sealed()
        self._lost = False
        line.on_bytes = self._payloads.feed

    @property
    def ready(self) -> bool:
        """Whether all that is sent from here on is sealed."""
        return self._channel.ready

    @property
    def server_id(self) -> str:
        """What the device knows this server by: its public key."""
        return self._channel.server_id

    def challenge(self, init: Frame) -> None:
        """Answer the client/init: server/init and the first noise/handshake, or server/error."""
        if self.challenged:
            return
        self.challenged = True
        try:
            answers = self._channel.challenge((init.text or "").encode())
        except SealError as error:
            self._clear(messages.encode("server/error", {"reason": error.reason or "malformed"}))
            self._line.fin()
            return
        for answer in answers:
            self._clear(answer)

    def _clear(self, text: bytes) -> None:
        self._line.send(encode_frame("text", text, mask=os.urandom(4)))

    def send(self, data: bytes, *, message_id: int = JSON_ID) -> None:
        """Seal a message and send it."""
        frames = self._channel.seal(data, message_id=message_id)
        for number, sealed in enumerate(frames, 1):
            self._on_their_way.append((message_id, data) if number == len(frames) else None)
            self._line.send(encode_frame("binary", sealed, mask=os.urandom(4)))

    def take(self, entry: Entry) -> Entry | None:
        """Account for an event of the wire: the plaintext's, where it completes one."""
        event = entry.event
        if isinstance(event, LinkEffect):
            self._lost = self._lost or event.fault == "silence"
        if not isinstance(event, Frame):
            return None
        if event.sender == "server":
            return self._sent(entry, event)
        if event.type == "noise/handshake" and self.challenged and not self.ready:
            self._accept(entry, event)
            return None
        payload = self._payloads.message(event.opcode)
        return self._received(entry, event, payload) if self.ready and payload else None

    def _sent(self, entry: Entry, frame: Frame) -> Entry | None:
        if frame.opcode != "binary" or not self._on_their_way:
            return None
        told = self._on_their_way.popleft()
        return None if told is None else self._record(entry, frame, *told)

    def _accept(self, entry: Entry, frame: Frame) -> None:
        try:
            self._channel.accept((frame.message or {}).get("payload"))
        except SealError as error:
            self._broken(entry, error)
            return
        self.send(messages.encode("server/hello", {"name": self._name}))

    def _received(self, entry: Entry, frame: Frame, payload: bytes) -> Entry | None:
        try:
            opened = self._channel.open(payload)
        except SealError as error:
            self._broken(entry, error)
            return None
        if opened is None:
            return None
        plain = self._record(entry, frame, opened.id, opened.data)
        inside = plain.event
        if isinstance(inside, Frame) and inside.type == GREETING and self.hello is None:
            self.hello = inside
        return plain

    def _record(self, entry: Entry, frame: Frame, message_id: int, data: bytes) -> Entry:
        event = sealed_event(frame.conn, frame.sender, message_id, data, frame.t, entry.n)
        return Entry(self._line.record(event), event)

    def _broken(self, entry: Entry, error: SealError) -> None:
        """A silent failure, as the specification has it: the connection ends without a word."""
        conn = self._line.conn
        told = SealBroken(t=now_ns(), conn=conn, frame=entry.n, text=str(error), lost=self._lost)
        self._line.record(told)
        self._line.fin()

    def activation(self, reason: str) -> dict[str, Any]:
        """Payload of the server/activate for a device that said hello.

        `playback` or nothing, as the connection's reason has it, and the roles the rig plays;
        neither where the device lets no unpaired server in.
        """
        hello = payload_of(self.hello) if self.hello is not None else {}
        access = hello.get("unpaired_access")
        if not isinstance(access, dict) or access.get("enabled") is not True:
            return messages.server_activate()
        supported = hello.get("supported_roles")
        known = supported if isinstance(supported, list) else []
        activities = ("playback",) if reason == "playback" else ()
        return messages.server_activate(activities, [r for r in messages.ROLES if r in known])
