"""What a real server sends, held back until it is let through: how a prompt server answers late.

A real server asks for the upgrade and greets as soon as it can. A scenario says when: the gate lets
its HTTP head through first, then, when told, all that follows. The bytes are its own, unaltered.
"""

from __future__ import annotations

from collections.abc import Callable

from rig.protocol.handshake import HEAD_END


class Gate:
    """Holds bytes for `passes`; closed at first.

    It keeps no more than what its feeder is let read (`Relay` stops reading above a bound).
    """

    def __init__(self) -> None:
        self.passes: Callable[[bytes], None] = lambda _data: None
        self.on_held: Callable[[], None] | None = None
        """Called when bytes have come that may not pass."""
        self._held = bytearray()
        self._head = False
        """Whether the HTTP head may pass."""
        self._half = False
        self._head_passed = False
        self._open = False

    @property
    def held(self) -> int:
        """Bytes that wait here."""
        return len(self._held)

    def feed(self, data: bytes) -> None:
        """Take bytes of the server, and pass on what may pass."""
        if self._open and not self._held:
            self.passes(data)
            return
        self._held += data
        self._pump()
        if self._held and self.on_held is not None:
            self.on_held()

    @property
    def answered(self) -> bool:
        """Whether something waits behind the HTTP head: the server has answered the device."""
        return self._head_passed and bool(self._held)

    def let_head(self) -> None:
        """Let the server's HTTP head through: its upgrade request, or its answer to one."""
        self._head = True
        self._pump()

    def let_half_head(self) -> None:
        """Let the first half of its HTTP head through, and no more."""
        self._half = True
        self._pump()

    def open(self) -> None:
        """Let everything through from here on."""
        self._head = self._open = True
        self._pump()

    def _pump(self) -> None:
        if not self._head_passed:
            end = self._held.find(HEAD_END) + len(HEAD_END)
            if end < len(HEAD_END):
                return
            if self._half and not self._head:
                self._half = False
                self._take(end // 2)
                return
            if not self._head:
                return
            self._head_passed = True
            self._take(end)
        if self._open and self._held:
            self._take(len(self._held))

    def _take(self, size: int) -> None:
        data = bytes(self._held[:size])
        del self._held[:size]
        self.passes(data)
