"""What a board is to the rig: a console, a reset, a flash port, an address. Nothing more.

Each way to have one is a module of its own (`serial`, `virtual`, ...), named in `rig.boards`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import serial

    from rig.boards.wifi_credentials import Provision


@dataclass(frozen=True, slots=True)
class Address:
    """Where the device's Sendspin endpoint listens."""

    host: str
    port: int = 8928
    path: str = "/sendspin"

    def __str__(self) -> str:
        return f"ws://{self.host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Dials:
    """A device that dials: the rig's server is announced on `interface` (name or address)."""

    interface: str
    port: int = 8927


@dataclass(frozen=True, slots=True)
class FlashPort:
    """How esptool reaches the board.

    `before` and `after` are esptool's own words (`default-reset`, `no-reset`, ...). Where the port
    has no reset lines they are `no-reset`, and the board's `reset` does it.
    """

    url: str
    chip: str | None = None
    baud: int = 921_600
    before: str = "default-reset"
    after: str = "hard-reset"
    mac: str | None = None
    """Refuse any other board on this port, before anything is written."""
    stub: bool = True
    """Whether to use esptool's stub loader."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A chip that was asked who it is: MAC as `aa:bb:cc:dd:ee:ff`, and what else it said."""

    mac: str
    chip: str | None = None
    revision: str | None = None
    firmware: str | None = None
    """Project and version of the application that it boots."""


def console_asserted(board: Board) -> bool:
    """How DTR and RTS are asked to be when its console is opened (docs/bench.md, `pins`)."""
    return bool(getattr(board, "console_asserted", True))


class Board(Protocol):
    """A device under test. An async context manager: leaving it releases what it held."""

    name: str
    kind: str
    console_writer: Callable[[bytes], Awaitable[None]] | None
    """Types on the console (`Capture.write`), set by whoever has it open. None: nobody has."""

    @property
    def console_url(self) -> str | None:
        """A pyserial URL or device path of the serial log, or None: this board has none."""
        ...

    @property
    def console_baud(self) -> int:
        """Baud rate of the serial log."""
        ...

    @property
    def flash_port(self) -> FlashPort | None:
        """Where to flash it, or None: it cannot be flashed from here."""
        ...

    @property
    def address(self) -> Address | None:
        """Where its Sendspin endpoint is, or None: not known (yet)."""
        ...

    @property
    def can_reset(self) -> bool:
        """Whether `reset` can work."""
        ...

    @property
    def firmware(self) -> Path | None:
        """The bundle it is flashed with when a run names none; None: it keeps what it has."""
        ...

    @property
    def can_talk(self) -> bool:
        """Whether `talk` can work: it can be made to send by itself."""
        ...

    async def reset(self, *, download: bool = False) -> None:
        """Reset it, into the ROM's download mode on request. Raises `BoardError`."""
        ...

    async def talk(self, count: int) -> bool:
        """Make the device queue `count` client/state at once; False: this board cannot."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


@runtime_checkable
class Pluggable(Protocol):
    """A board whose power the rig itself can take away for good (a model, a relay)."""

    async def unplug(self) -> bool:
        """Take its power away, free all it holds; False: it was unplugged already."""
        ...


@runtime_checkable
class Lined(Protocol):
    """A board that is reset by the lines of a port; its console may be on that port, too."""

    console_port: Callable[[], serial.SerialBase | None] | None
    """The open port of its console (`Capture.port`), set by whoever has it open. None: nobody."""


@runtime_checkable
class Stateful(Protocol):
    """A board that can say how it is without being touched."""

    async def state(self) -> str:
        """In a word or two, for a list: `running`, `download mode`, `unplugged`."""
        ...


@runtime_checkable
class Identified(Protocol):
    """A board whose chip is known without being touched: it says so itself, or did before."""

    async def identity(self) -> Identity | None:
        """Who it is; None: it was never asked."""
        ...

    def remember(self, identity: Identity) -> None:
        """Keep who it is. Raises `BoardError`."""
        ...


@runtime_checkable
class Powered(Protocol):
    """A board whose power the rig can take away for a moment: the coldest of resets."""

    @property
    def can_power(self) -> bool:
        """Whether `power` can work."""
        ...

    async def power(self, on: bool) -> None:
        """Switch its supply. Raises `BoardError`."""
        ...


@runtime_checkable
class Provisionable(Protocol):
    """A board whose bench table may say how it keeps its WiFi credentials."""

    @property
    def provision(self) -> Provision:
        """As the bench file says, or the default."""
        ...


@runtime_checkable
class Findable(Protocol):
    """A board whose address may have to be looked up each time it has booted."""

    async def find(self) -> Address | None:
        """Look it up; None: it is not looked up. Raises `BoardError` when it is not there."""
        ...


@runtime_checkable
class Dialler(Protocol):
    """A board that may dial the server itself."""

    @property
    def dials(self) -> Dials | None:
        """Where it looks for a server; None: it is dialled, as most are."""
        ...
