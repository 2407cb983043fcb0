"""A board described by hand: where its log is, where it listens, how to flash and reset it.

Anything that prints a log and listens can be put under test with it: a board on a USB port, behind
ser2net, in an emulator, or a process built for ESP-IDF's `linux` target that logs to a file.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self
from urllib.parse import urlsplit

from rig.boards import nearest
from rig.boards.base import Address, Dials, FlashPort, Identity
from rig.boards.commands import Run, run_command
from rig.boards.discovery import FLOW_CONTROL, JTAG, attached
from rig.boards.identities import place_key, remember, remembered
from rig.boards.power import OFF_SECONDS, Power, switch
from rig.boards.serial_lines import USUAL_PINS, Pins, reset_by_lines, type_on
from rig.boards.wifi_credentials import USUAL, Provision
from rig.errors import BenchError, BoardError

if TYPE_CHECKING:
    import serial


@dataclass(frozen=True, slots=True)
class PlainSettings:
    """The keys of a plain board's `[boards.NAME]` table (docs/bench.md)."""

    console: str | None = None
    """Serial log: a device path, a pyserial URL (`socket://`, `rfc2217://`) or a growing file."""
    console_baud: int = 115_200
    address: str | None = None
    """`host[:port][/path]` of the Sendspin endpoint (`ws://` may stand before it), or
    `mdns:NAME@INTERFACE`: as it announces itself."""
    dials: str | None = None
    """`INTERFACE[:port]` where the rig's server is announced, for a device that dials servers."""
    flash: str = "none"
    """Port to flash it by, or `none`: it carries its firmware already."""
    flash_baud: int = 921_600
    flash_stub: bool = True
    """Whether to flash by esptool's stub loader; without it by the ROM's, which is slower."""
    firmware: Path | None = None
    """The bundle that a run flashes unless told otherwise."""
    chip: str | None = None
    reset: str | Run = "none"
    """`lines` (DTR and RTS of the port), a command to run, or `none`."""
    reset_download: Run | None = None
    """A command that resets into download mode, for ports without lines."""
    pins: Pins = USUAL_PINS
    """What the port's lines drive."""
    power: Power | None = None
    """How its supply is switched."""
    provision: Provision = USUAL
    """How it keeps its WiFi credentials."""
    talk: str | Run | None = None
    """What makes it queue n states at once: text for the console with `{n}`, or a command."""

    def __post_init__(self) -> None:
        if self.console is None and self.address is None and self.dials is None:
            raise BenchError("console: expected a console, an address, or both; found neither")
        if self.address is not None and self.dials is not None:
            raise BenchError("dials: a device that dials has no address", hint="one of the two")
        if self.address is not None and not self.address.startswith(MDNS):
            parse_address(self.address)
        elif self.address is not None:
            parse_mdns(self.address)
        if self.dials is not None:
            parse_dials(self.dials)
        for key, baud in (("console_baud", self.console_baud), ("flash_baud", self.flash_baud)):
            if not 300 <= baud <= 8_000_000:
                raise BenchError(f"{key}: {baud} is no baud rate", hint="300 to 8000000")
        self._check_reset()
        if isinstance(self.talk, str) and "{n}" not in self.talk:
            raise BenchError("talk: no {n} in it, where the number of states goes", hint="{n}")
        if isinstance(self.talk, str) and self.console is None:
            raise BenchError("talk: text for the console, but there is no console", hint="console")

    def _check_reset(self) -> None:
        if self.reset == "lines" and self.flash == "none" and self.console is None:
            raise BenchError("reset: 'lines', but there is no port", hint="a console or flash port")
        if isinstance(self.reset, Run) or self.reset in ("lines", "none"):
            return
        try:
            program = (shlex.split(self.reset) or [""])[0]
        except ValueError as error:
            raise BenchError(f"reset: {self.reset!r} is no command: {error}") from error
        if shutil.which(program) is None:
            guess = nearest(program, ["lines", "none"])
            raise BenchError(
                f"reset: '{program}' is no program on this machine{guess}",
                hint="'lines', 'none', or a command to run",
            )


def parse_address(text: str) -> Address:
    """`host[:port][/path]`, `ws://` allowed before it. Raises `BenchError`."""
    wrong = BenchError(f"address: '{text}' is no address", hint="host:port or ws://host:port/path")
    try:
        parts = urlsplit(text if "://" in text else f"ws://{text}")
        port = parts.port
    except ValueError:
        raise wrong from None
    host = parts.hostname or ""
    if parts.scheme != "ws" or port == 0 or not re.fullmatch(r"[A-Za-z0-9_.:%-]+", host):
        raise wrong
    default = Address(host)
    return Address(host, port or default.port, parts.path or default.path)


MDNS = "mdns:"


def parse_mdns(text: str) -> tuple[str, str]:
    """`mdns:NAME@INTERFACE` as (name, interface); `*` is the only one. Raises `BenchError`."""
    name, at, interface = text.removeprefix(MDNS).rpartition("@")
    if not at or not name or not interface:
        raise BenchError(
            f"address: '{text}' does not say who and where",
            hint="mdns:NAME@INTERFACE (mdns:kitchen@eth0, mdns:*@eth0)",
        )
    return name, interface


def parse_dials(text: str) -> Dials:
    """`INTERFACE[:port]`. Raises `BenchError`."""
    interface, colon, port = text.partition(":")
    if not interface or (colon and not (port.isascii() and port.isdigit())):
        raise BenchError(f"dials: '{text}' is no place", hint="INTERFACE or INTERFACE:PORT")
    number = int(port[:6]) if colon else Dials(interface).port
    if not 0 <= number <= 65_535:
        raise BenchError(f"dials: {number} is no port", hint="1 to 65535, 0 for a free one")
    return Dials(interface, number)


class PlainBoard:
    """A board of the bench file. Holds nothing open between calls."""

    kind = "plain"
    Settings: ClassVar[type[PlainSettings]] = PlainSettings

    def __init__(self, name: str, settings: PlainSettings) -> None:
        self.name = name
        self.settings = settings
        self.console_writer: Callable[[bytes], Awaitable[None]] | None = None
        self.console_port: Callable[[], serial.SerialBase | None] | None = None

    @property
    def console_url(self) -> str | None:
        """As the bench file has it."""
        return self.settings.console

    @property
    def console_baud(self) -> int:
        """As the bench file has it; 115200 by default."""
        return self.settings.console_baud

    @property
    def flash_port(self) -> FlashPort | None:
        """The port; without reset lines where it has none or a command does the reset."""
        port, chip, baud = self.settings.flash, self.settings.chip, self.settings.flash_baud
        stub = self.settings.flash_stub
        if port == "none":
            return None
        by_esptool = self.settings.reset in ("lines", "none") and self.settings.pins.usual
        if by_esptool and has_lines(port):
            before = "usb-reset" if self.settings.pins.usb_jtag else "default-reset"
            return FlashPort(port, chip, baud, before=before, stub=stub)
        return FlashPort(port, chip, baud, before="no-reset", after="no-reset", stub=stub)

    @property
    def address(self) -> Address | None:
        """As the bench file has it, or as it was found last; None: not known (yet)."""
        told = self.settings.address
        if told is None:
            return None
        return self._announced if told.startswith(MDNS) else parse_address(told)

    _announced: Address | None = None

    async def find(self) -> Address | None:
        """Look a board up that announces itself. Raises `BoardError` when it is not there."""
        told = self.settings.address
        if told is None or not told.startswith(MDNS):
            return None
        from rig.boards.mdns import find

        self._announced = await find(*parse_mdns(told))
        return self._announced

    @property
    def dials(self) -> Dials | None:
        """As the bench file has it."""
        return None if self.settings.dials is None else parse_dials(self.settings.dials)

    async def identity(self) -> Identity | None:
        """Who answered on its port before; None: it was never asked."""
        return remembered().get(self._key())

    def remember(self, identity: Identity) -> None:
        """Keep who answers on its port. Raises `BoardError`."""
        remember(self._key(), identity)

    def _key(self) -> str:
        """What its identity is kept by."""
        port = self.settings.flash if self.settings.flash != "none" else self.settings.console
        return place_key(port or self.name, None)

    @property
    def can_reset(self) -> bool:
        """Whether the bench file says how, and its port has the lines for it."""
        if self.settings.reset == "lines":
            return has_lines(self._lines_port())
        return self.settings.reset != "none"

    def _lines_port(self) -> str:
        """The port whose lines reset it: the one it is flashed by, else its console."""
        flash = self.settings.flash
        return flash if flash != "none" else self.settings.console or ""

    def _bridge(self) -> str | None:
        """The adapter between its port and USB; None: none that is known, or no USB."""
        port = self._lines_port()
        return next((each.bridge for each in attached() if each.device == port), None)

    @property
    def console_asserted(self) -> bool:
        """How DTR and RTS are asked to be when its console is opened."""
        return self.settings.pins.open == "asserted"

    @property
    def can_power(self) -> bool:
        """Whether the bench file says how."""
        return self.settings.power is not None

    @property
    def off_seconds(self) -> float:
        """How long a power cycle leaves it off."""
        power = self.settings.power
        return power.off_seconds if power else OFF_SECONDS

    async def power(self, on: bool) -> None:
        """Switch its supply. Raises `BoardError`, `BenchError`."""
        if self.settings.power is None:
            raise BenchError(
                f"the rig cannot switch the power of '{self.name}'",
                hint="say how in its bench table: [boards.NAME.power] (docs/bench.md)",
            )
        await switch(self.name, self.settings.power, on)

    async def reset(self, *, download: bool = False) -> None:
        """Reset by the port's lines or by the user's command. Raises `BoardError`."""
        how: str | Run = self.settings.reset
        if download and self.settings.reset_download is not None:
            how = self.settings.reset_download
        elif download and how not in ("lines", "none"):
            raise BoardError(
                f"{self.name}: its bench file does not say how to reset it into download mode",
                hint="add reset_download = { run = '...' } to its table",
            )
        if how == "none":
            raise BoardError(
                f"{self.name}: its bench file says of no way to reset it",
                hint="add reset = 'lines', or a command, to its table; or press its button",
            )
        if how == "lines":
            bridge = self._bridge()
            await reset_by_lines(
                self._lines_port(),
                download=download,
                pins=self.settings.pins,
                usb_jtag=bridge == JTAG,
                flow_control=bridge == FLOW_CONTROL,
                port=self._open_port(),
            )
        else:
            await run_command(self.name, "reset", how.run if isinstance(how, Run) else how)

    def _open_port(self) -> serial.SerialBase | None:
        """The port with its lines, where its console holds it: a serial server has one client."""
        if self.console_port is None or self.console_url != self._lines_port():
            return None
        return self.console_port()

    @property
    def provision(self) -> Provision:
        """As the bench file says."""
        return self.settings.provision

    @property
    def firmware(self) -> Path | None:
        """The bundle of the bench file."""
        return self.settings.firmware

    @property
    def can_talk(self) -> bool:
        """Whether the bench file says how it is made to talk."""
        return self.settings.talk is not None

    async def talk(self, count: int) -> bool:
        """Have it queue `count` states, as the bench file says; False where it does not say."""
        talk = self.settings.talk
        if talk is None:
            return False
        if isinstance(talk, Run):
            await run_command(self.name, "talk", talk.run.replace("{n}", str(count)))
            return True
        typed = talk.replace("{n}", str(count)).encode()
        if self.console_writer is not None:
            await self.console_writer(typed)
        else:
            await type_on(self.console_url or "", self.console_baud, typed)
        return True

    async def __aenter__(self) -> Self:
        """Nothing to acquire."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to release."""


def has_lines(port: str) -> bool:
    """Whether a port can have DTR and RTS: RFC 2217 and real devices; not sockets, not ptys."""
    if "://" in port:
        return port.startswith("rfc2217://")
    try:
        device = Path(port).stat()
    except OSError:
        return True  # not there now: whoever opens it says so
    pty_slaves = range(136, 144)  # Linux, Documentation/admin-guide/devices.txt
    return stat.S_ISCHR(device.st_mode) and os.major(device.st_rdev) not in pty_slaves
