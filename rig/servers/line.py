"""What a server needs of the path to the device. `rig.link` fulfils it; nothing here knows how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from rig.errors import ServerError
from rig.history import Entry, Event

Direction = Literal["to_device", "to_server", "both"]
ServerKind = Literal["scripted", "reference"]
"""Who plays the server: the scripted one, or aiosendspin."""


class Unable(ServerError):
    """This kind of server cannot do what is asked of it: whoever needs it is inconclusive."""


class Line(Protocol):
    """A connected, recorded TCP connection to the device, with the endings a server may give it."""

    conn: int
    server_id: str
    epoch_us: int
    born_ns: int
    inbound: bool
    """Whether the device dialled: then the server answers the upgrade."""
    closed: bool
    on_event: Callable[[Entry], None] | None
    on_bytes: Callable[[bytes], None] | None
    defer_end: Callable[[Callable[[], None]], None] | None

    @property
    def asked_key(self) -> str | None:
        """The `Sec-WebSocket-Key` of the upgrade request, if it has come."""
        ...

    @property
    def backlog(self) -> int:
        """Bytes given to `send` that the kernel has not taken."""
        ...

    @property
    def unacknowledged(self) -> int:
        """Bytes sent that the device's TCP has not acknowledged."""
        ...

    def record(self, event: Event) -> int:
        """Put an event into the history: its number."""
        ...

    def start(self) -> None:
        """Begin to read."""
        ...

    def send(self, data: bytes) -> None:
        """Send bytes to the device."""
        ...

    def fin(self) -> None:
        """End the server's half in order."""
        ...

    def rst(self) -> None:
        """Drop the connection with a RST."""
        ...

    def cork(self) -> None:
        """Keep what is sent until `stall`, so that both go out in one piece."""
        ...

    def stall(self) -> None:
        """Send the first byte of a frame and no more."""
        ...

    def unstall(self) -> None:
        """Complete that frame."""
        ...

    def cut(self, keep: int, then: Literal["rst", "fin", "silence"] = "rst") -> None:
        """Let only `keep` bytes of the next frame through."""
        ...

    def silence(self, direction: Direction = "both") -> None:
        """Swallow what crosses."""
        ...

    def speak(self) -> None:
        """Heal `silence`."""
        ...

    def closed_window(self) -> None:
        """Stop reading, so that the device's sends come to a stop."""
        ...

    def reopen(self) -> None:
        """Heal `closed_window`."""
        ...

    def delay(self, ms: float, direction: Direction = "both") -> None:
        """Pass bytes on late; 0 heals."""
        ...

    def trickle(self, rate: float, direction: Direction = "to_device") -> None:
        """Pass at most `rate` bytes a second; 0 heals."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


class Path(Protocol):
    """The way to a device."""

    @property
    def inbound(self) -> bool:
        """Whether the device dials: a connection then is waited for."""
        ...

    async def dial(
        self,
        *,
        server_id: str | None = None,
        epoch_us: int | None = None,
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        local_port: int | None = None,
    ) -> Line:
        """Open a TCP connection on which nothing is sent."""
        ...

    def request(self) -> bytes:
        """A sound upgrade request for this device."""
        ...


class Sluice(Protocol):
    """Holds back what a real server sends."""

    on_held: Callable[[], None] | None
    """Called when bytes have come that may not pass."""

    @property
    def answered(self) -> bool:
        """Whether something waits behind the HTTP head."""
        ...

    def let_head(self) -> None:
        """Let its HTTP head through."""
        ...

    def let_half_head(self) -> None:
        """Let half of it through."""
        ...

    def open(self) -> None:
        """Let everything through."""
        ...


class Relayed(Protocol):
    """A real server's connection, joined to the one to the device."""

    def start(self) -> None:
        """Begin to pass bytes."""
        ...

    @property
    def wire(self) -> Line:
        """The connection to the device."""
        ...


class Entrance(Protocol):
    """Where one connection of a real server comes in; the device has accepted it already."""

    @property
    def wire(self) -> Line:
        """The connection to the device."""
        ...

    @property
    def gate(self) -> Sluice:
        """Holds back what the server sends."""
        ...

    @property
    def port(self) -> int:
        """The TCP port of 127.0.0.1 to connect to."""
        ...

    async def join(self, timeout: float = ...) -> Relayed:
        """Wait for the server to connect; the result is not started."""
        ...

    async def join_to(self, port: int, timeout: float = ...) -> Relayed:
        """Connect to the server instead, which listens on this port of 127.0.0.1."""
        ...


class Front(Path, Protocol):
    """What a real server dials instead of the device."""

    board: str
    on_relay: Any
    """Called with every new `Relayed`, before a byte has passed."""

    @property
    def relays(self) -> Mapping[int, object]:
        """Relayed connections that are open, by number."""
        ...

    @property
    def record(self) -> Callable[[Event], int]:
        """Takes an event and returns its number."""
        ...

    async def listen(
        self, *, server_id: str = ..., clock_us: Callable[[], int] | None = ...
    ) -> str:
        """Listen, and dial the device for each connection that comes: the local URL."""
        ...

    async def door(
        self,
        *,
        server_id: str,
        epoch_us: int | None = ...,
        timeout: float = ...,
        receive_buffer: int | None = ...,
        local_port: int | None = ...,
        clock_us: Callable[[], int] | None = ...,
    ) -> Entrance:
        """Dial the device for one connection of a real server, which then enters."""
        ...
