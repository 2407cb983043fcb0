"""A serial port as the flasher needs it: named, looked at before use, and who else has it open."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serial.tools import list_ports

from firmware_flasher.errors import PortDenied, PortMissing, UsageError

BEFORE = ("default-reset", "usb-reset", "no-reset", "no-reset-no-sync")
AFTER = ("hard-reset", "soft-reset", "no-reset", "no-reset-stub", "watchdog-reset")
MAX_BAUD = 5_000_000

_SCHEMES = ("socket", "rfc2217", "spy", "alt", "hwgrep", "cp2110")


class Port(Protocol):
    """How esptool reaches a board; `rig.boards.base.FlashPort` is one.

    `url`: device path or pyserial URL. `chip`: refuse another one; None: any. `baud`: transfer
    rate. `before`, `after`: esptool's own words; `no-reset` where the port has no reset lines.
    `mac`: refuse another board; None: any. `stub`: whether to use esptool's stub loader.
    """

    @property
    def url(self) -> str: ...
    @property
    def chip(self) -> str | None: ...
    @property
    def baud(self) -> int: ...
    @property
    def before(self) -> str: ...
    @property
    def after(self) -> str: ...
    @property
    def mac(self) -> str | None: ...
    @property
    def stub(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A `Port` in itself."""

    url: str
    chip: str | None = None
    baud: int = 921_600
    before: str = "default-reset"
    after: str = "hard-reset"
    mac: str | None = None
    stub: bool = True


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has the port open. `name` is the kernel's short name for it."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def check_port(port: Port) -> None:
    """Look at the port without opening it: opening alone can reset a board.

    Raises `UsageError` for words and rates esptool does not know, `PortMissing`, `PortDenied`.
    """
    if port.before not in BEFORE:
        raise UsageError(f"before: {port.before!r}; expected one of {', '.join(BEFORE)}")
    if port.after not in AFTER:
        raise UsageError(f"after: {port.after!r}; expected one of {', '.join(AFTER)}")
    if not 300 <= port.baud <= MAX_BAUD:
        raise UsageError(f"baud: {port.baud}; expected 300 to {MAX_BAUD}")
    path = device_path(port.url)
    if path is not None:
        _check_device(path)


def device_path(url: str) -> Path | None:
    """The device file of a port, None for a URL. Raises `UsageError` for an unknown scheme."""
    if not url:
        raise UsageError("port: empty", hint="name one: /dev/ttyUSB0, socket://host:port")
    scheme, separator, _ = url.partition("://")
    if not separator:
        return Path(url)
    if scheme not in _SCHEMES:
        raise UsageError(
            f"port {url}: unknown scheme {scheme!r}",
            hint="expected a device path, socket://host:port or rfc2217://host:port",
        )
    return None


def _check_device(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise PortMissing(f"port {path}: there is no such device", hint=_what_is_there()) from None
    except PermissionError:
        raise PortDenied(f"port {path}: its folder may not be looked into") from None
    except OSError as error:
        raise PortMissing(f"port {path}: {error.strerror}", hint=_what_is_there()) from None
    if not stat.S_ISCHR(mode):
        raise PortMissing(
            f"port {path}: not a serial device but a {_kind(mode)}", hint=_what_is_there()
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise denied(path)


def denied(path: Path) -> PortDenied:
    """The error for a port one may not open; names the group that may, and the udev rule."""
    return PortDenied(
        f"port {path}: no permission to open it ({_owner(path)})", hint=how_to_be_allowed(path)
    )


def how_to_be_allowed(*paths: Path) -> str:
    """What to do to be allowed to open these ports: their groups, or a udev rule for each adapter.

    A port that is on no USB (a UART of the board itself) has no such rule.
    """
    groups = ",".join(dict.fromkeys(_group(path) for path in paths))
    ports = {port.device: port for port in list_ports.comports()}
    found = [ports.get(str(path)) or ports.get(str(path.resolve())) for path in paths]
    ids = dict.fromkeys((p.vid, p.pid) for p in found if p is not None and p.vid is not None)
    rules = [
        f'SUBSYSTEM=="tty", ATTRS{{idVendor}}=="{vid:04x}", ATTRS{{idProduct}}=="{pid:04x}", '
        'TAG+="uaccess"'
        for vid, pid in ids
    ]
    rule = f"; or {'a udev rule' if len(rules) == 1 else 'udev rules'}: " if rules else ""
    return (
        f"join {'its group' if len(paths) == 1 else 'their group'}: sudo usermod -aG {groups} "
        f"$USER, then log in again{rule}{' and '.join(rules)}"
    )


def _owner(path: Path) -> str:
    try:
        return f"mode {stat.filemode(path.stat().st_mode)}, group {_group(path)}"
    except OSError:
        return "mode unknown"


def _group(path: Path) -> str:
    try:
        group = path.group()
    except (OSError, KeyError):
        return "dialout"
    return group if group not in ("root", "tty") else "dialout"


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "socket, pipe or block device"


def _what_is_there() -> str:
    """The next step where a port is missing: the ports that are there."""
    names = sorted(port.device for port in list_ports.comports())
    if not names:
        return "no serial port is attached: plug the board in, check that the cable carries data"
    return f"attached: {', '.join(names)}"


def holders(url: str) -> tuple[Holder, ...]:
    """The other processes that have the port open, as far as /proc tells; none for a URL.

    Unprivileged, one sees one's own processes only.
    """
    if "://" in url:
        return ()
    try:
        device = Path(url).stat().st_rdev
    except OSError:
        return ()
    others = (
        entry
        for entry in _listdir(Path("/proc"))
        if entry.name.isdigit() and int(entry.name) != os.getpid()
    )
    return tuple(
        Holder(int(entry.name), _process_name(entry))
        for entry in others
        if _has_open(entry, device)
    )


def _has_open(process: Path, device: int) -> bool:
    for descriptor in _listdir(process / "fd"):
        try:
            status = descriptor.stat()
        except OSError:
            continue  # closed while we looked
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == device:
            return True
    return False


def _listdir(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []  # gone, or another user's


def _process_name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a process"
