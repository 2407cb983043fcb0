"""A board on USB, named by what stays the same: its MAC, its USB place, its serial number.

Its port is looked up each time it is needed, so it may get another number at any time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rig.boards.base import FlashPort, Identity
from rig.boards.commands import Run
from rig.boards.discovery import FoundPort, find, read_mac
from rig.boards.identities import place_key, remember, remembered
from rig.boards.plain import PlainBoard, PlainSettings
from rig.boards.power import OFF_SECONDS, Power, switch
from rig.boards.serial_lines import USUAL_PINS, Pins
from rig.boards.wifi_credentials import USUAL, Provision
from rig.errors import BenchError, BoardError

if TYPE_CHECKING:
    from serial import SerialBase


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """The keys of a serial board's `[boards.NAME]` table (docs/bench.md)."""

    mac: str | None = None
    usb: str | None = None
    serial: str | None = None
    port: str | None = None
    """A device path or pyserial URL; instead of the other three."""
    console_baud: int = 115_200
    flash_baud: int = 921_600
    flash_stub: bool = True
    address: str | None = None
    dials: str | None = None
    firmware: Path | None = None
    chip: str | None = None
    reset: str | Run = "lines"
    reset_download: Run | None = None
    pins: Pins = USUAL_PINS
    power: Power | None = None
    provision: Provision = USUAL
    talk: str | Run | None = None

    def __post_init__(self) -> None:
        named = [key for key in ("mac", "usb", "serial", "port") if getattr(self, key)]
        if not named:
            raise BenchError("mac: expected one of mac, usb, serial and port", hint="a MAC")
        if self.port and len(named) > 1:
            raise BenchError(f"port: contradicts {named[0]}", hint="one of the two")
        if self.mac and read_mac(self.mac) is None:
            raise BenchError(f"mac: '{self.mac}' is no MAC", hint="'aa:bb:cc:dd:ee:ff'")
        self.on(self.port or "/dev/unknown")

    def on(self, port: str) -> PlainSettings:
        """The same board, as a plain one on `port`. Raises `BenchError`."""
        return PlainSettings(
            console=port,
            console_baud=self.console_baud,
            address=self.address,
            dials=self.dials,
            flash=port,
            flash_baud=self.flash_baud,
            flash_stub=self.flash_stub,
            firmware=self.firmware,
            chip=self.chip,
            reset=self.reset,
            reset_download=self.reset_download,
            pins=self.pins,
            power=self.power,
            provision=self.provision,
            talk=self.talk,
        )


class SerialBoard(PlainBoard):
    """A plain board whose port is found. Raises `BoardError` where it is not attached."""

    kind = "serial"
    Settings: ClassVar[type[Any]] = SerialSettings

    def __init__(self, name: str, settings: SerialSettings) -> None:
        self.name = name
        self.wanted = settings
        self.console_writer: Callable[[bytes], Awaitable[None]] | None = None
        self.console_port: Callable[[], SerialBase | None] | None = None
        self._entered: FoundPort | None = None
        """Where it was found when it was entered: it stays there, whoever turns out to be there."""

    async def __aenter__(self) -> Self:
        """Settle on its place; where it is not attached, whoever needs its port says so."""
        with contextlib.suppress(BoardError):
            self._entered = self._found() if self.wanted.port is None else None
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._entered = None

    @property
    def settings(self) -> PlainSettings:  # type: ignore[override]  # nobody sets it
        """As they are with the port that it is on now."""
        wanted = self.wanted
        if wanted.port is not None:
            return wanted.on(wanted.port)
        return wanted.on(self._found().device)

    def _found(self) -> FoundPort:
        wanted, entered = self.wanted, self._entered
        if entered is not None and entered.usb is not None:
            return find(self.name, usb=entered.usb, serial=entered.serial)
        return find(self.name, mac=wanted.mac, usb=wanted.usb, serial=wanted.serial)

    def _key(self) -> str:
        """What its identity is kept by."""
        port = self.wanted.port
        return place_key(port, None) if port is not None else self._found().key

    @property
    def flash_port(self) -> FlashPort | None:
        """As a plain board's, and for the board with this MAC only."""
        port = super().flash_port
        mac = read_mac(self.wanted.mac) if self.wanted.mac else None
        return replace(port, mac=mac) if port is not None else None

    @property
    def provision(self) -> Provision:
        """As the bench file says; the board need not be attached for it."""
        return self.wanted.provision

    @property
    def can_power(self) -> bool:
        """Whether the bench file says how; it need not be attached for that."""
        return self.wanted.power is not None

    @property
    def off_seconds(self) -> float:
        """How long a power cycle leaves it off."""
        power = self.wanted.power
        return power.off_seconds if power else OFF_SECONDS

    async def power(self, on: bool) -> None:
        """Switch its supply, also while its port is away. Raises `BoardError`, `BenchError`."""
        if self.wanted.power is None:
            await super().power(on)
        else:
            await switch(self.name, self.wanted.power, on)

    async def identity(self) -> Identity | None:
        """Who answered on its port before. Raises `BoardError` where it is not attached."""
        return remembered().get(self._key()) or (
            self._found().identity if self.wanted.port is None else None
        )

    def remember(self, identity: Identity) -> None:
        """Keep who answers on its port. Raises `BoardError`."""
        remember(self._key(), identity)
