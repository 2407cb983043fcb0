"""Which serial ports may have an ESP32 behind them, and who was seen there. Opens nothing.

What a USB adapter says of itself is not the chip: the MAC comes from Espressif's own USB, whose
serial number it is, or from a probe of earlier (`rig.boards.identities`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from rig.boards.base import Identity
from rig.boards.identities import place_key, remembered
from rig.errors import BoardError

JTAG = "Espressif USB-Serial-JTAG"
FLOW_CONTROL = "Silicon Labs CP2102C"
"""Moves RTS by itself (esp_pylib, `HARDWARE_FLOW_CONTROL_VID_PIDS`)."""
BRIDGES = {
    (0x303A, 0x1001): JTAG,
    (0x10C4, 0xEA64): FLOW_CONTROL,
    (0x303A, None): "Espressif USB",
    (0x10C4, None): "Silicon Labs CP210x",
    (0x1A86, None): "WCH CH34x",
    (0x0403, None): "FTDI",
}
"""USB vendor and product (None: any) of what ESP boards carry (esptool's own list of vendors)."""
UDEV_LINKS = (Path("/dev/serial/by-id"), Path("/dev/serial/by-path"))
"""Where udev keeps names of ports that stay the same (60-serial.rules)."""

Lister = Callable[[], Iterable[ListPortInfo]]


@dataclass(frozen=True, slots=True)
class FoundPort:
    """A port that is attached now. `usb`: its place, `1-1.2` or with its interface `1-1.2:1.0`."""

    device: str
    bridge: str
    usb: str | None
    serial: str | None
    identity: Identity | None
    link: str | None = None
    """udev's lasting name of it, where there is udev."""

    @property
    def mac(self) -> str | None:
        """The chip's MAC, where it is known."""
        return self.identity.mac if self.identity else None

    @property
    def place(self) -> str | None:
        """Its place without the interface: `1-1.2`."""
        return self.usb.partition(":")[0] if self.usb else None

    @property
    def key(self) -> str:
        """What its identity is kept by."""
        return place_key(self.usb or self.device, self.serial)


def attached(lister: Lister | None = None) -> list[FoundPort]:
    """Every port with an adapter of the kinds that ESP boards carry, by device name."""
    known = remembered()
    links = _udev_links()
    found = []
    for port in (lister or list_ports.comports)():
        bridge = BRIDGES.get((port.vid, port.pid)) or BRIDGES.get((port.vid, None))
        if bridge is None:
            continue
        link = links.get(str(Path(port.device).resolve()))
        one = FoundPort(port.device, bridge, port.location, port.serial_number, None, link)
        found.append(_identified(one, known.get(one.key)))
    return sorted(found, key=lambda one: one.device)


def _udev_links() -> dict[str, str]:
    links: dict[str, str] = {}
    for folder in UDEV_LINKS:
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue  # no udev here
        for entry in entries:
            links.setdefault(str(entry.resolve()), str(entry))
    return links


def _identified(port: FoundPort, identity: Identity | None) -> FoundPort:
    told = read_mac(port.serial or "") if port.bridge == JTAG else None
    if told and (identity is None or identity.mac != told):
        identity = Identity(told)  # another board sits there now
    return FoundPort(port.device, port.bridge, port.usb, port.serial, identity, port.link)


def read_mac(text: str) -> str | None:
    """`AA-BB-...` or `aabb...` as `aa:bb:cc:dd:ee:ff`; None for what is no MAC."""
    digits = re.sub(r"[:-]", "", text.strip()).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        return None
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def find(
    name: str,
    *,
    mac: str | None = None,
    usb: str | None = None,
    serial: str | None = None,
    ports: list[FoundPort] | None = None,
) -> FoundPort:
    """The one attached port that is meant. Raises `BoardError` for none or several.

    `usb`: `1-1.2`, with or without its interface. `ports`: instead of those attached now. The MAC
    has the last word: a board that is known to be elsewhere now is found there, and at its place
    no other board is taken for it.
    """
    ports = attached() if ports is None else ports
    wanted = {"mac": mac and read_mac(mac), "usb": usb, "serial": serial}
    fits = [port for port in ports if _fits(port, wanted)]
    if wanted["mac"] and (exact := [port for port in ports if port.mac == wanted["mac"]]):
        fits = [port for port in exact if serial is None or port.serial == serial]
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
    unknown = any(port.mac is None for port in ports)
    raise BoardError(
        f"the board '{name}' ({said}) is not attached",
        hint=(f"attached: {there}" if there else "plug it in; no ESP32 is attached to this machine")
        + ("; `rig boards --probe` asks the unknown ones for their MAC" if unknown and mac else ""),
    )


def _fits(port: FoundPort, wanted: dict[str, str | None]) -> bool:
    mac, usb, serial = wanted["mac"], wanted["usb"], wanted["serial"]
    if serial is not None and port.serial != serial:
        return False
    if usb is not None and usb not in (port.usb, port.place):
        return False
    if mac is None:
        return True
    # Never asked: its place must do. A MAC alone says nothing of a port that was never asked.
    return port.mac == mac or (port.mac is None and usb is not None)
