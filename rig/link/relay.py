"""A real server's connection joined to a wire: bytes pass unaltered, endings as what they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rig.link.gate import Gate
from rig.link.stream import Ending, TcpStream
from rig.link.wire import Wire

HIGH: Final = 262_144
LOW: Final = 65_536
"""Bytes waiting in one direction above which the other end is not read, and below which it is."""


class Relay:
    """Passes bytes between `server` (the accepted connection) and `wire` (to the device).

    A half-close is passed on as one, a RST as a RST. Faults are put on `wire`.
    """

    def __init__(self, server: TcpStream, wire: Wire, gate: Gate | None = None) -> None:
        """Join the two; `start` begins. What the server sends passes `gate`, if there is one."""
        self.server = server
        self.wire = wire
        self.gate = gate
        self._feed: Callable[[bytes], object] = wire.send
        if gate is not None:
            gate.passes = self._passed
            self._feed = gate.feed
        server.on_data = self._from_server
        server.on_end = self._server_ended
        server.on_drained = self._level
        wire.on_bytes = self._from_device
        wire.on_end = self._device_ended
        wire.on_drained = self._level
        wire.on_closed = self._wire_closed
        server.on_closed = self._over
        self.on_over: Callable[[], None] | None = None
        """Called when both sides are closed: behind a silent link the server's may live on."""

    def start(self) -> None:
        """Begin to pass bytes."""
        self.wire.start()
        self.server.start()

    def _from_server(self, data: bytes, _t: int) -> None:
        self._feed(data)
        self._level()

    def _passed(self, data: bytes) -> None:
        self.wire.send(data)
        self._level()

    def _from_device(self, data: bytes) -> None:
        self.server.write(data)
        self._level()

    def _level(self) -> None:
        """Read only as fast as the other side takes it."""
        held = self.gate.held if self.gate is not None else 0
        _valve(self.server, self.wire.backlog + held)
        _valve(self.wire.stream, self.server.buffered + self.wire.backlog_to_server)

    def _server_ended(self, ending: Ending, _t: int) -> None:
        if ending == "fin":
            self.wire.fin()
        else:
            self.wire.server_reset()

    def _device_ended(self, ending: Ending) -> None:
        if ending == "fin":
            self.server.end_write()
        else:
            self.server.reset()

    def _wire_closed(self, reason: str) -> None:
        """A fault ended the connection to the device: the server's path is gone too."""
        if reason in ("reset by the server", "closed") and not self.wire.silent_to_server:
            self.server.reset()
        self._over()

    def _over(self) -> None:
        if self.wire.closed and not self.server.open and self.on_over is not None:
            self.on_over()

    def close(self) -> None:
        """Close both sides."""
        self.wire.close()
        self.server.close()


def _valve(stream: TcpStream, waiting: int) -> None:
    if waiting > HIGH:
        stream.pause("backlog")
    elif waiting < LOW:
        stream.resume("backlog")
