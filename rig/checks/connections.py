"""A history's connections, followed event by event: what every wire check needs to know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rig.checks.registry import Judged
from rig.history.events import (
    ConnectionClosed,
    ConnectionOpened,
    EarlyBytes,
    Entry,
    Event,
    Frame,
    Held,
    TcpFin,
    TcpReset,
    UpgradeAnswered,
)
from rig.protocol.names import Generation, generation_of

OPENINGS = frozenset({"client/hello", "client/init"})
"""The opening message of each wire generation (legacy, noise)."""

GOODBYE = "client/goodbye"

_WIRE: tuple[type[Event], ...] = (
    ConnectionOpened,
    UpgradeAnswered,
    Frame,
    EarlyBytes,
    Held,
    TcpFin,
    TcpReset,
    ConnectionClosed,
)


@dataclass(slots=True)
class Conversation:
    """One connection so far. Only what checks need is kept: its size does not grow with traffic."""

    conn: int
    server_id: str
    """What the device knows the server by: the rig's own name for it, in noise its key."""
    epoch_us: int
    opened_n: int
    opened_t: int
    dialled: bool = False
    """Whether the device opened it (client-initiated)."""
    upgraded: int | None = None
    """Number of the event that shows the 101."""
    early: list[Entry] = field(default_factory=list)
    """What came before the 101 (the first few)."""
    device_data: int = 0
    """Data frames from the device so far."""
    first: Entry | None = None
    """The device's first data frame; of a message in fragments the one that completes it."""
    opening: Entry | None = None
    """Its opening message, wherever it came."""
    goodbye: Entry | None = None
    after_goodbye: Entry | None = None
    """The first data frame after a goodbye."""
    server_hello: int | None = None
    transport: int | None = None
    """Noise: number of the device's noise/handshake, after which everything is sealed."""
    activated: int | None = None
    """Noise: number of the first server/activate, as far as the rig's own server recorded it."""
    held: tuple[int, int, float] | None = None
    """Since it is only waited on: (event number, deadline in monotonic ns, seconds given)."""
    device_ended: int | None = None
    """Number of the event with which the device ended it (FIN or RST)."""
    server_ended: int | None = None
    closed_t: int | None = None

    def take(self, entry: Entry) -> None:
        """Account for one event of this connection."""
        match entry.event:
            case UpgradeAnswered(status=101):
                self.upgraded = self.upgraded or entry.n
            case EarlyBytes():
                if len(self.early) < 8:
                    self.early.append(entry)
            case Frame(sender="device", opcode="text" | "binary" | "continuation") as frame:
                self._device_frame(entry, frame)
            case Frame(sender="server", type="server/hello" | "server/init") as frame:
                self.server_hello = self.server_hello or entry.n
                payload = (frame.message or {}).get("payload")
                key = payload.get("server_id") if isinstance(payload, dict) else None
                if frame.type == "server/init" and isinstance(key, str):
                    self.server_id = key
            case Frame(sender="server", type="server/activate", sealed=int()):
                self.activated = self.activated or entry.n
            case Held(t=t, within_s=within):
                self.held = entry.n, t + int(within * 1e9), within
            case TcpFin(sender="device") | TcpReset(sender="device"):
                self.device_ended = self.device_ended or entry.n
            case TcpFin(sender="server") | TcpReset(sender="server"):
                self.server_ended = self.server_ended or entry.n
            case ConnectionClosed(t=t):
                self.closed_t = t

    @property
    def generation(self) -> Generation | None:
        """The generation it was opened in; None: it was not opened (yet)."""
        frame = self.opening.event if self.opening is not None else None
        return generation_of(frame.type) if isinstance(frame, Frame) else None

    def says(self, frame: Frame) -> bool:
        """Whether the device said a whole message with `frame`: no fragment, no bare seal.

        What is sealed counts where the rig's own server recorded what is inside.
        """
        if frame.sender != "device" or not frame.fin:
            return False
        if frame.sealed is not None:
            return True
        if self.transport is not None and self.generation == "noise":
            return frame.opcode == "text"
        return frame.opcode in ("text", "binary", "continuation")

    def _device_frame(self, entry: Entry, frame: Frame) -> None:
        if frame.sealed is None:
            self.device_data += 1
            if frame.fin:  # a message in fragments is named by the last of them
                self.first = self.first or entry
            if frame.type == "noise/handshake":
                self.transport = self.transport or entry.n
        if self.goodbye is not None and self.after_goodbye is None:
            self.after_goodbye = entry
        if frame.type in OPENINGS and self.opening is None and frame.sealed is None:
            self.opening = entry
        if frame.type == GOODBYE and self.goodbye is None:
            self.goodbye = entry


def follow(history: Judged, *more: type[Event]) -> Iterator[tuple[Entry, Conversation | None]]:
    """Each wire event with its connection as it is after that event.

    Events of the kinds in `more`, and of connections opened before this stretch, come with None.
    A closed connection is forgotten after its `ConnectionClosed`: memory stays flat.
    """
    live: dict[int, Conversation] = {}
    for entry in history.only(*_WIRE, *more):
        event = entry.event
        if isinstance(event, ConnectionOpened):
            live[event.conn] = Conversation(
                event.conn,
                event.server_id,
                event.epoch_us,
                entry.n,
                event.t,
                dialled=event.dialled_by == "device",
            )
        conversation = live.get(getattr(event, "conn", -1))
        if conversation is not None:
            conversation.take(entry)
        yield entry, conversation
        if isinstance(event, ConnectionClosed):
            live.pop(event.conn, None)


def conversations(history: Judged) -> Iterator[Conversation]:
    """Each connection once, complete: when it closed, else at the history's end."""
    live: dict[int, Conversation] = {}
    for entry, conversation in follow(history):
        if conversation is None:
            continue
        live[conversation.conn] = conversation
        if isinstance(entry.event, ConnectionClosed):
            yield live.pop(conversation.conn)
    yield from live.values()


def words(entry: Entry) -> str:
    """A frame in a few words: `client/state (text, 132 bytes)`."""
    event = entry.event
    if isinstance(event, Frame):
        form = "sealed" if event.sealed is not None else event.opcode
        return f"{event.type or 'a frame'} ({form}, {event.size} bytes)"
    if isinstance(event, EarlyBytes):
        return f"{event.type or 'bytes ' + event.head[:16]} ({event.size} bytes)"
    return event.tag
