"""Which serial ports may have an ESP32 behind them, and who was seen there. Opens nothing.

What a USB adapter says of itself is not the chip: the MAC comes from Espressif's own USB, whose
serial number it is, or from a probe of earlier (`remember`), kept by USB place and serial number.
Boards swapped behind one adapter without a serial number of its own go unnoticed until a probe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from rig.boards.home import state_folder
from rig.errors import BoardError

BRIDGES = {
    (0x303A, 0x1001): "Espressif USB-Serial-JTAG",
    (0x303A, None): "Espressif USB",
    (0x10C4, None): "Silicon Labs CP210x",
    (0x1A86, None): "WCH CH34x",
    (0x0403, None): "FTDI",
}
"""USB vendor and product (None: any) of what ESP boards carry (esptool's own list of vendors)."""
_LARGEST = 1 << 20

Lister = Callable[[], Iterable[ListPortInfo]]


@dataclass(frozen=True, slots=True)
class Identity:
    """A chip that was asked who it is."""

    mac: str
    chip: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class FoundPort:
    """A port that is attached now. `usb`: its place, `1-1.2` or with its interface `1-1.2:1.0`."""

    device: str
    bridge: str
    usb: str | None
    serial: str | None
    identity: Identity | None

    @property
    def mac(self) -> str | None:
        """The chip's MAC, where it is known."""
        return self.identity.mac if self.identity else None

    @property
    def key(self) -> str:
        """What its identity is kept by."""
        return f"{self.usb or self.device}|{self.serial or ''}"


def attached(lister: Lister = list_ports.comports) -> list[FoundPort]:
    """Every port with an adapter of the kinds that ESP boards carry, by device name."""
    known = _remembered()
    found = []
    for port in lister():
        bridge = BRIDGES.get((port.vid, port.pid)) or BRIDGES.get((port.vid, None))
        if bridge is None:
            continue
        one = FoundPort(port.device, bridge, port.location, port.serial_number, None)
        found.append(_identified(one, known.get(one.key)))
    return sorted(found, key=lambda one: one.device)


def _identified(port: FoundPort, identity: Identity | None) -> FoundPort:
    jtag = port.bridge == BRIDGES[(0x303A, 0x1001)]
    if identity is None and jtag and (mac := read_mac(port.serial or "")):
        identity = Identity(mac)
    return FoundPort(port.device, port.bridge, port.usb, port.serial, identity)


def read_mac(text: str) -> str | None:
    """`AA-BB-...` or `aabb...` as `aa:bb:cc:dd:ee:ff`; None for what is no MAC."""
    digits = re.sub(r"[:-]", "", text.strip()).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        return None
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def remember(port: FoundPort, identity: Identity) -> None:
    """Keep who answered there. Raises `BoardError` where the state folder cannot be written."""
    known = _remembered() | {port.key: identity}
    path = _file()
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.encode(known))
        part.replace(path)
    except OSError as error:
        raise BoardError(
            f"cannot keep who is on {port.device} in {path}: {error.strerror}",
            hint="set SENDSPIN_RIG_HOME to a folder that you may write to",
        ) from error


def _remembered() -> dict[str, Identity]:
    """What probes found. It is a cache: a broken one is an empty one."""
    try:
        with _file().open("rb") as file:
            return msgspec.json.decode(file.read(_LARGEST), type=dict[str, Identity])
    except (OSError, msgspec.DecodeError):
        return {}


def _file() -> Path:
    return state_folder() / "identities.json"


def find(
    name: str,
    *,
    mac: str | None = None,
    usb: str | None = None,
    serial: str | None = None,
    ports: list[FoundPort] | None = None,
) -> FoundPort:
    """The one attached port that fits all that is given. Raises `BoardError` for none or several.

    `usb`: `1-1.2`, with or without its interface. `ports`: instead of those attached now.
    """
    ports = attached() if ports is None else ports
    wanted = {"mac": mac and read_mac(mac), "usb": usb, "serial": serial}
    fits = [
        port
        for port in ports
        if (mac is None or port.mac == wanted["mac"])
        and (usb is None or usb in (port.usb, (port.usb or "").partition(":")[0]))
        and (serial is None or port.serial == serial)
    ]
    if len(fits) == 1:
        return fits[0]
    said = ", ".join(f"{key} {value}" for key, value in wanted.items() if value)
    if fits:
        raise BoardError(
            f"the board '{name}' ({said}) may be any of {', '.join(p.device for p in fits)}",
            hint="tell them apart by `usb` or `mac` in its bench table; `rig boards` shows both",
        )
    there = ", ".join(
        f"{p.device} ({p.usb or 'no USB place'}, {p.mac or 'MAC not known'})" for p in ports
    )
    raise BoardError(
        f"the board '{name}' ({said}) is not attached",
        hint=f"attached: {there}" if there else "plug it in; no ESP32 is attached to this machine",
    )
