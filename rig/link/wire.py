"""The TCP connection to the device: every byte of it tapped, and the faults that can be put on it.

A relay joins it to a real server's connection; the scripted server talks over it directly.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Container
from functools import partial
from typing import Literal

from rig.history import Entry, Event, now_ns
from rig.history.events import (
    ConnectionClosed,
    ConnectionOpened,
    LinkEffect,
    Sender,
    TcpFin,
    TcpReset,
)
from rig.link.shape import Shaper
from rig.link.stall import Stall
from rig.link.stream import Ending, TcpStream
from rig.link.window import Window
from rig.protocol import Tap

Sink = Callable[[Event], int]
"""Takes an event and returns its number: `HistoryStore.append`."""

Direction = Literal["to_device", "to_server", "both"]


def _both(direction: Direction) -> tuple[Direction, ...]:
    return ("to_device", "to_server") if direction == "both" else (direction,)


class Wire:
    """A connected, tapped socket to the device, number `conn` in the history.

    `on_bytes(data)`: bytes of the device that were let through. `on_event(entry)`: an event of
    this connection (the device's own only where they were let through). `on_end(ending)`: the
    device ended its half. `on_closed(reason)`: nothing more comes. `on_drained()`: see `backlog`.

    Fault methods named in `swallow` (or all, with `*` in it) do nothing: that is how a check on
    the rig itself makes a fault miss.
    """

    def __init__(
        self, sock: socket.socket, opened: ConnectionOpened, sink: Sink, swallow: Container[str]
    ) -> None:
        """Take over the connected `sock`, which `opened` describes, and record that."""
        self.conn = opened.conn
        self.server_id = opened.server_id
        self.epoch_us = opened.epoch_us
        self.born_ns = opened.t
        """When the server's clock showed `epoch_us`: the history's `ConnectionOpened.t`."""
        self.closed = False
        self.swallow = swallow
        self.on_bytes: Callable[[bytes], None] | None = None
        self.on_event: Callable[[Entry], None] | None = None
        self.on_end: Callable[[Ending], None] | None = None
        self.on_closed: Callable[[str], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self.on_end_of_life: Callable[[], object] | None = None
        self.defer_end: Callable[[Callable[[], None]], None] | None = None
        """Given what records the device's end: calls it when all before that is recorded."""
        self._sink = sink
        self._tap = Tap(opened.conn, dialler=opened.dialled_by)
        self.inbound = opened.dialled_by == "device"
        """Whether the device dialled: then the server answers the upgrade."""
        self._shapers = {"to_device": Shaper(), "to_server": Shaper()}
        self._silent = {"to_device": False, "to_server": False}
        self._swallowed = {"to_device": 0, "to_server": 0}
        self._held: list[tuple[Direction, Callable[[], None]]] = []
        self._measured: set[tuple[str, str]] = set()
        self._shaping: dict[str, str] = {}
        self._cut: tuple[int, str] | None = None
        self._loop = asyncio.get_running_loop()
        self.stream = TcpStream(sock)
        self.stream.on_data = self._received
        self.stream.on_end = self._ended
        self.stream.on_sent = self._sent
        self.stream.on_drained = self._drained
        for direction, shaper in self._shapers.items():
            shaper.on_progress = self._drained
            shaper.on_passed = partial(self._waited, direction)
        self._stall = Stall(self.stream, self._shapers["to_device"], self._stall_taken)
        self._window = Window(self.stream, self._window_shut)
        self._emit(opened)

    def record(self, event: Event) -> int:
        """Put an event of this connection into the history: its number. Nobody is told."""
        return self._sink(event)

    def start(self) -> None:
        """Begin to read from the device; call it once the callbacks are set."""
        self.stream.start()

    # -- what goes to the device ------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Bytes given to `send` that the kernel has not taken."""
        return self.stream.buffered + self._shapers["to_device"].queued

    @property
    def backlog_to_server(self) -> int:
        """Bytes of the device that wait here to be let through."""
        return self._shapers["to_server"].queued

    @property
    def silent_to_server(self) -> bool:
        """Whether the server is kept from hearing of the device."""
        return self._silent["to_server"]

    @property
    def unacknowledged(self) -> int:
        """Bytes sent that the device's TCP has not acknowledged."""
        return self.stream.unacknowledged

    @property
    def answered(self) -> int | None:
        """Status of the device's upgrade answer; None: none yet."""
        return self._tap.answered

    @property
    def asked_key(self) -> str | None:
        """The `Sec-WebSocket-Key` of the upgrade request; None: it has not come, or has none."""
        return self._tap.key

    def send(self, data: bytes) -> None:
        """Send `data` to the device, under whatever faults are on this wire."""
        if self.closed or not data:
            return
        if self._silent["to_device"]:
            self._swallow("to_device", len(data))
            return
        self._shapers["to_device"].push(data, self._pass)

    def _pass(self, data: bytes) -> None:
        if self._cut is None or not self._tap.between_frames("server"):
            self.stream.write(data)
            return
        keep, then = self._cut
        self._cut = None
        self.stream.write(data[:keep])
        self._effect("cut", min(keep, len(data)), "bytes", "server")
        self._shapers["to_device"].clear()
        if then == "silence":
            self._silent["to_device"] = True
        elif then == "fin":
            self._end_write()
        else:
            self._reset()

    def _sent(self, data: bytes) -> None:
        for event in self._tap.feed("server", data, now_ns()):
            self._emit(event)

    def _drained(self) -> None:
        if self.on_drained is not None:
            self.on_drained()

    # -- what comes from the device ---------------------------------------------------------

    def _received(self, data: bytes, t: int) -> None:
        through = not self._silent["to_server"]
        if not through:
            self._swallow("to_server", len(data))
        elif self.on_bytes is not None:
            self._shapers["to_server"].push(data, self.on_bytes)
        for event in self._tap.feed("device", data, t):
            self._emit_device(event, through=through)

    def _emit_device(self, event: Event, *, through: bool) -> None:
        entry = Entry(self._sink(event), event)
        if through and self.on_event is not None:
            notify = self.on_event
            self._shapers["to_server"].push(b"", lambda _: notify(entry))

    def _ended(self, ending: Ending, t: int) -> None:
        record = partial(self._end, ending, t)
        if self.defer_end is None:
            record()
        else:
            self.defer_end(record)

    def _end(self, ending: Ending, t: int) -> None:
        if self.closed:
            return
        through = not self._silent["to_server"]
        for event in self._tap.end("device", t):
            self._emit_device(event, through=through)
        if ending == "fin":
            self._emit_device(TcpFin(t=t, conn=self.conn, sender="device"), through=through)
        elif ending == "reset":
            self._emit_device(TcpReset(t=t, conn=self.conn, sender="device"), through=through)
        if ending != "fin":
            self._close({"reset": "reset by the device", "lost": "lost"}[ending])
        elif self.stream.write_ended:
            self._close("ended by both")
        self._tell_end(ending)

    def _tell_end(self, ending: Ending) -> None:
        if self.on_end is None:
            return
        notify = self.on_end
        if self._silent["to_server"]:
            self._held.append(("to_server", lambda: notify(ending)))
        else:
            self._shapers["to_server"].push(b"", lambda _: notify(ending))

    # -- endings ----------------------------------------------------------------------------

    def fin(self) -> None:
        """End the server's half in order: what waits, then a FIN. The device's half stays open."""
        if self._missed("fin") or self.closed:
            return
        if self._silent["to_device"]:
            self._held.append(("to_device", self.fin))
            return
        if self._stall.on:
            self._end_write()
        else:
            self._shapers["to_device"].push(b"", lambda _: self._end_write())

    def rst(self) -> None:
        """Drop the connection with a RST (SO_LINGER 0), at once.

        `TcpReset` is recorded only where the kernel's state of the socket shows that a RST goes
        out (Linux `tcp_need_reset`: the connection was still up).
        """
        if not self._missed("rst"):
            self._reset()

    def server_reset(self) -> None:
        """Pass on that the real server reset its connection (nobody asked for a fault)."""
        if self._silent["to_device"]:
            self._held.append(("to_device", self._reset))
        else:
            self._reset()

    def close(self) -> None:
        """Close the socket as a process that ends does: FIN, or RST where bytes are unread."""
        if self.closed:
            return
        if self.stream.unread:
            self._reset()
            return
        self._end_write()
        self._close("closed")

    def _end_write(self) -> None:
        if self.closed or self.stream.write_ended:
            return
        t = now_ns()
        self.stream.end_write()
        if self.closed:
            return
        for event in self._tap.end("server", t):
            self._emit(event)
        self._emit(TcpFin(t=t, conn=self.conn, sender="server"))
        if self.stream.peer_ended:
            self._close("ended by both")

    def _reset(self) -> None:
        if self.closed:
            return
        t = now_ns()
        dead = self.stream.dead
        real = self.stream.reset()
        for event in self._tap.end("device", t, cut=True):
            self._emit(event)
        if real:
            self._emit(TcpReset(t=t, conn=self.conn, sender="server"))
        elif dead:
            self._emit(TcpReset(t=t, conn=self.conn, sender="device"))
        self._close("reset by the server" if real else "closed")

    def _close(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.stream.close()
        for direction, count in self._swallowed.items():
            if count:
                self._effect("silence", count, "bytes", _sender(direction))
        self._shapers["to_device"].clear()
        self._emit(ConnectionClosed(t=now_ns(), conn=self.conn, reason=reason))
        if self.on_end_of_life is not None:
            self.on_end_of_life()
        if self.on_closed is not None:
            self.on_closed(reason)

    # -- lasting faults ---------------------------------------------------------------------

    def silence(self, direction: Direction = "both") -> None:
        """Swallow what crosses, a FIN included, while TCP on each side says all is well."""
        if not self._missed("silence"):
            for each in _both(direction):
                self._silent[each] = True

    def speak(self) -> None:
        """Heal `silence`. What was swallowed stays lost; an ending held back is passed on."""
        for direction in self._silent:
            self._silent[direction] = False
        held, self._held = self._held, []
        for _, act in held:
            act()

    def _swallow(self, direction: str, size: int) -> None:
        self._swallowed[direction] += size
        if self._first("silence", direction):
            self._effect("silence", size, "bytes", _sender(direction))

    def cork(self) -> None:
        """Keep what is sent until `stall`, so that both go out in one piece."""
        if not self.closed:
            self.stream.cork()

    def stall(self) -> None:
        """Send the first byte of a text frame and no more; what is sent later waits.

        Proven when the device's TCP has acknowledged the byte.
        """
        if not self._missed("stall") and not self.closed:
            self._stall.begin()
        self.stream.uncork()

    def unstall(self) -> None:
        """Heal `stall`: complete the frame (an empty text), then send what waited."""
        self._stall.end()

    def cut(self, keep: int, then: Literal["rst", "fin", "silence"] = "rst") -> None:
        """Let only the first `keep` bytes of the next frame through, then end the connection."""
        if not self._missed("cut"):
            self._cut = (keep, then)

    def closed_window(self) -> None:
        """Stop reading and shrink the receive buffer, so that the device's sends come to a stop.

        What the device may still send is the window offered so far: dial with a small
        `receive_buffer` where it must close within a few hundred bytes.
        """
        if not self._missed("closed_window"):
            self._window.close()

    def reopen(self) -> None:
        """Heal `closed_window`: read again."""
        self._window.reopen()

    def delay(self, ms: float, direction: Direction = "both") -> None:
        """Pass bytes on `ms` milliseconds late, in order; 0 heals."""
        if not self._missed("delay"):
            self._shape("delay", direction, bool(ms), delay=ms / 1_000)

    def trickle(self, rate: float, direction: Direction = "to_device") -> None:
        """Pass at most `rate` bytes a second; 0 heals."""
        if not self._missed("trickle"):
            self._shape("trickle", direction, bool(rate), rate=rate or None)

    def _shape(
        self,
        fault: str,
        direction: Direction,
        on: bool,
        *,
        delay: float = 0.0,
        rate: float | None = None,
    ) -> None:
        for each in _both(direction):
            self._shaping[each] = fault if on else ""
            self._measured.discard((fault, each))
            self._shapers[each].shape(delay=delay, rate=rate)

    def _waited(self, direction: str, size: int, seconds: float) -> None:
        """Record, once, what bytes under a delay or a trickle really experienced."""
        fault = self._shaping.get(direction, "")
        if fault and self._first(fault, direction):
            if fault == "delay":
                self._effect(fault, round(seconds * 1_000, 3), "ms", _sender(direction))
            else:
                rate = round(size / max(seconds, 1e-6), 1)
                self._effect(fault, rate, "bytes/s", _sender(direction))

    # -- the record -------------------------------------------------------------------------

    def _stall_taken(self) -> None:
        self._effect("stall", 1, "bytes", "server")

    def _window_shut(self, unread: int) -> None:
        self._effect("closed_window", unread, "bytes", "device")

    def _missed(self, fault: str) -> bool:
        return fault in self.swallow or "*" in self.swallow

    def _first(self, fault: str, direction: str) -> bool:
        if (fault, direction) in self._measured:
            return False
        self._measured.add((fault, direction))
        return True

    def _effect(self, fault: str, value: float, unit: str, sender: Sender) -> None:
        self._emit(
            LinkEffect(
                t=now_ns(), conn=self.conn, fault=fault, value=value, unit=unit, sender=sender
            )
        )

    def _emit(self, event: Event) -> None:
        n = self._sink(event)
        if self.on_event is not None:
            self.on_event(Entry(n, event))


def _sender(direction: str) -> Sender:
    return "server" if direction == "to_device" else "device"
