"""What aiosendspin seals and opens on a connection, recorded beside the wire's sealed frames.

It has no hook for that: its `NoiseSession`, a public class, is listened in on, for the servers of
the rig alone. Frames and plaintexts are joined by the ciphertext itself; keys are not touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from rig.history import Entry
from rig.history.events import Frame, Sender
from rig.protocol.payload import sealed_event
from rig.protocol.sealed import FRAGMENT_ID
from rig.servers.line import Line

BOUND: Final = 1024
"""Frames, and plaintexts, of one connection that wait for their counterpart."""
OPENED_WITHIN_S: Final = 0.2
"""How long the device's end waits for what it sent before it: the server may never open that."""
_HEAD: Final = 32
"""Bytes of a binary frame that its event shows: enough to tell ciphertexts apart."""

Heard = Callable[[Sender, bytes, bytes], None]
"""Who said it, what, and its ciphertext."""


def listen_in(session_class: Any, listener: Callable[[], Heard | None]) -> None:
    """From now on tell the listener of the running context what its sessions seal and open."""
    if getattr(session_class, "heard_by_the_rig", False):
        return
    encrypt, decrypt = session_class.encrypt, session_class.decrypt

    def sealing(self: Any, plaintext: bytes) -> bytes:
        sealed: bytes = encrypt(self, plaintext)
        if (heard := listener()) is not None:
            heard("server", plaintext, sealed)
        return sealed

    def opening(self: Any, ciphertext: bytes) -> bytes:
        plaintext: bytes = decrypt(self, ciphertext)
        if (heard := listener()) is not None:
            heard("device", plaintext, ciphertext)
        return plaintext

    session_class.encrypt, session_class.decrypt = sealing, opening
    session_class.heard_by_the_rig = True


class Unsealed:
    """Joins one connection's sealed frames to what is inside them."""

    def __init__(self, line: Line, on_inside: Callable[[Entry], None]) -> None:
        """`on_inside` hears the recorded plaintext's entry."""
        self._line = line
        self._on_inside = on_inside
        self._end: Callable[[], None] | None = None
        line.defer_end = self._ending
        self._frames: dict[str, Entry] = {}
        self._plain: dict[str, tuple[Sender, bytes]] = {}

    def take(self, entry: Entry) -> None:
        """A frame crossed the wire."""
        frame = entry.event
        if not isinstance(frame, Frame) or frame.opcode != "binary" or frame.sealed is not None:
            return
        head = frame.head or ""
        if head in self._plain:
            self._join(entry, frame, *self._plain.pop(head))
        else:
            _keep(self._frames, head, entry)

    def heard(self, sender: Sender, plaintext: bytes, ciphertext: bytes) -> None:
        """Something was sealed or opened (on this connection, or on another of that server)."""
        head = ciphertext[:_HEAD].hex()
        entry = self._frames.pop(head, None)
        if entry is None:
            _keep(self._plain, head, (sender, plaintext))
        elif isinstance(entry.event, Frame):
            self._join(entry, entry.event, sender, plaintext)
            if self._end is not None and not self._closed_ones():
                self._over()

    def _closed_ones(self) -> bool:
        """Whether the device sent something that is not opened yet."""
        events = (entry.event for entry in self._frames.values())
        return any(isinstance(event, Frame) and event.sender == "device" for event in events)

    def _ending(self, record: Callable[[], None]) -> None:
        """The device ended the connection: that follows what it had said before."""
        self._end = record
        if self._closed_ones():
            asyncio.get_running_loop().call_later(OPENED_WITHIN_S, self._over)
        else:
            self._over()

    def _over(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end()

    def _join(self, entry: Entry, frame: Frame, sender: Sender, plaintext: bytes) -> None:
        if not plaintext or plaintext[0] == FRAGMENT_ID or sender != frame.sender:
            return  # a part of a message is not recorded
        data = bytes(plaintext[1:])
        event = sealed_event(frame.conn, sender, plaintext[0], data, frame.t, entry.n)
        self._on_inside(Entry(self._line.record(event), event))


def _keep[V](kept: dict[str, V], head: str, value: V) -> None:
    kept[head] = value
    if len(kept) > BOUND:
        del kept[next(iter(kept))]
