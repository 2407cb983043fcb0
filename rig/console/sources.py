"""Where console bytes come from: a serial port or pty, a socket, a pyserial URL, a growing file.

All look alike to `rig.console.capture`: a descriptor to wait on where there is one, and a `read`
that never blocks; without a descriptor, a `read` that blocks for a moment, for a thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import select
import socket
import stat
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from rig.errors import BenchError, BoardError

CHUNK = 65_536
"""Bytes a read at most."""

CONNECT_S = 5.0
LOCKED_S = 0.05
"""How often a port that is read is asked whether another process has locked it."""
_FLOCK = re.compile(r"^\d+: FLOCK +\w+ +WRITE (\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ", re.MULTILINE)
BLOCK_S = 0.1
"""How long the `read` of a source without a descriptor blocks, in seconds."""


class SourceGone(Exception):
    """The port vanished, the socket closed: nothing more comes until it is opened again."""


class Source(Protocol):
    """An open source of console bytes."""

    def fileno(self) -> int | None:
        """The descriptor to wait on, or None: `read` blocks for up to `BLOCK_S`."""
        ...

    def read(self) -> bytes:
        """What has come, at most `CHUNK` bytes; empty: nothing now. Raises `SourceGone`."""
        ...

    def write(self, data: bytes) -> int:
        """Send as much of `data` as goes without blocking; its length. Raises `SourceGone`."""
        ...

    def close(self) -> None:
        """Let go of it; idempotent."""
        ...


class PortSource:
    """A serial port or pty, opened so that the board is not reset.

    On Linux the kernel asserts DTR and RTS together when a port is opened, and the auto-reset
    circuit of ESP boards takes both alike as "run". Asking for both before the open leaves it at
    that, while releasing them one after the other would pass through "reset". A board that
    has RTS alone on its EN pin wants `asserted=False`. Drivers that raise the two lines one after
    the other reset the board at open whatever is asked for (some CH340 boards on macOS).

    Takes no lock, so that esptool, which does, can open the port; and lets go of it (`SourceGone`)
    when another process has locked it, so that esptool gets all the bytes it waits for.
    """

    def __init__(self, path: str, baud: int, *, asserted: bool = True) -> None:
        node = Path(path).stat()
        if holder := _locked_by(node):
            raise OSError(errno.EBUSY, _locked(holder), path)
        self._node = node
        self._asked = time.monotonic()
        port = serial.Serial(baudrate=baud, timeout=0)
        port.port = path
        port.dtr = port.rts = asserted
        port.open()
        self._port = port
        self._fd: int = port.fileno()

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes:
        """As `Source.read`: what has come, at most `CHUNK` bytes."""
        if time.monotonic() - self._asked > LOCKED_S:
            self._asked = time.monotonic()
            if holder := _locked_by(self._node):
                raise SourceGone(_locked(holder))
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:  # a pty whose other side closed says EIO, a pulled cable ENXIO
            raise SourceGone(error.strerror) from error
        if not data and _hung_up(self._fd):  # else: pyserial's VMIN 0, an empty read is no end
            raise SourceGone("the port hung up")
        return data

    def write(self, data: bytes) -> int:
        return _write(self._fd, data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._port.close()


class SocketSource:
    """A serial port behind a plain TCP socket (ser2net raw, an emulator's chardev)."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=CONNECT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> bytes:
        """As `Source.read`: what has come, at most `CHUNK` bytes."""
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise SourceGone(error.strerror) from error
        if not data:
            raise SourceGone("the other side closed the connection")
        return data

    def write(self, data: bytes) -> int:
        return _write(self._socket.fileno(), data)

    def close(self) -> None:
        self._socket.close()


class UrlSource:
    """Any other pyserial URL (`rfc2217://`, `loop://`): no descriptor, so a thread reads it."""

    def __init__(self, url: str, baud: int, *, asserted: bool = True) -> None:
        port = serial.serial_for_url(url, do_not_open=True, baudrate=baud, timeout=BLOCK_S)
        port.dtr = port.rts = asserted
        port.open()
        self._port = port

    @property
    def port(self) -> serial.SerialBase:
        """pyserial's own, with its lines."""
        return self._port

    def fileno(self) -> None:
        return None

    def read(self) -> bytes:
        """As `Source.read`: what has come, at most `CHUNK` bytes."""
        try:
            first: bytes = self._port.read(1)
            more = min(self._port.in_waiting, CHUNK - 1) if first else 0
            return first + self._port.read(more) if more else first
        except (OSError, TypeError) as error:  # TypeError: pyserial, closed while it reads
            raise SourceGone(str(error)) from error

    def write(self, data: bytes) -> int:
        try:
            return int(self._port.write(data) or 0)
        except OSError as error:
            raise SourceGone(str(error)) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._port.close()


class FileSource:
    """A file that some other program writes a console to, read from its present end on.

    Waits on Linux's inotify. A file that shrinks or is replaced is gone, and is read from its
    start when it is opened again.
    """

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._inotify = _watch(path)
        if not from_start:
            os.lseek(self._fd, 0, os.SEEK_END)

    def fileno(self) -> int | None:
        return self._inotify

    def read(self) -> bytes:
        """As `Source.read`: what has come, at most `CHUNK` bytes."""
        if data := os.read(self._fd, CHUNK):
            return data
        self._check()
        if self._inotify is None:
            select.select([], [], [], BLOCK_S)
        else:
            with contextlib.suppress(BlockingIOError):
                os.read(self._inotify, CHUNK)
        # What was written since the first read may have lost its wake-up just now. A full chunk is
        # asked after by whoever reads.
        return os.read(self._fd, CHUNK)

    def _check(self) -> None:
        mine = os.fstat(self._fd)
        try:
            there = self._path.stat()
        except OSError as error:
            raise SourceGone(f"the file is gone: {error.strerror}") from error
        if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            raise SourceGone("the file was replaced")
        if mine.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            raise SourceGone("the file was cut short")

    def write(self, data: bytes) -> int:
        raise BoardError(
            f"{self._path} is a file: {len(data)} bytes cannot be sent to its board",
            hint="give the board a console that can be written to (a port, or socket://)",
        )

    def close(self) -> None:
        for name in ("_fd", "_inotify"):
            descriptor = getattr(self, name)
            if descriptor is not None and descriptor >= 0:
                setattr(self, name, -1 if name == "_fd" else None)
                os.close(descriptor)


class PipeSource:
    """A named pipe. Held open for writing too: a writer that leaves does not end it."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes:
        """As `Source.read`: what has come, at most `CHUNK` bytes."""
        try:
            return os.read(self._fd, CHUNK)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        raise BoardError(
            f"a named pipe carries one direction only: {len(data)} bytes cannot be sent",
            hint="give the board a console that can be written to (a port, or socket://)",
        )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_source(
    url: str, *, baud: int = 115_200, asserted: bool = True, from_start: bool = False
) -> Source:
    """Open a console: device path, growing file, `socket://`, or another pyserial URL. Blocks.

    `asserted`: DTR and RTS (see `PortSource`). `from_start`: read a growing file from its
    beginning. Raises `BoardError` where the port cannot be opened, `BenchError` where `url` can
    never be one.
    """
    try:
        if "://" not in url:
            return _open_path(url, baud, asserted=asserted, from_start=from_start)
        parts = urlsplit(url)
        if parts.scheme == "socket":
            return _open_socket(url)
        return UrlSource(url, baud, asserted=asserted)
    except ValueError as error:
        raise BenchError(
            f"{url!r} is no console: {error}",
            hint="a device path, a file, socket://HOST:PORT or rfc2217://HOST:PORT is expected",
        ) from error
    except OSError as error:
        raise _refused(url, error) from error


def _open_path(path: str, baud: int, *, asserted: bool, from_start: bool) -> Source:
    mode = Path(path).stat().st_mode
    if stat.S_ISCHR(mode):
        return PortSource(path, baud, asserted=asserted)
    if stat.S_ISFIFO(mode):
        return PipeSource(path)
    if stat.S_ISREG(mode):
        return FileSource(Path(path), from_start=from_start)
    raise ValueError("neither a serial port nor a file nor a pipe")


def _open_socket(url: str) -> SocketSource:
    parts = urlsplit(url)
    if not parts.hostname or parts.port is None:
        raise ValueError("host or port is missing")
    return SocketSource(parts.hostname, parts.port)


def _rule(device: str) -> str:
    """The udev rule that lets one open it, by its adapter's USB id; nothing where it has none."""
    port = next((p for p in list_ports.comports() if p.device == device), None)
    if port is None or port.vid is None:
        return ""
    ids = f'ATTRS{{idVendor}}=="{port.vid:04x}", ATTRS{{idProduct}}=="{port.pid:04x}"'
    return f'; or a udev rule: SUBSYSTEM=="tty", {ids}, TAG+="uaccess"'


def _refused(url: str, error: OSError) -> BoardError:
    """The open failed: say what to do about it (pyserial hides errno in its text at times)."""
    told = re.search(r"\[Errno (\d+)\]", error.strerror or str(error))  # pyserial's text in a text
    code = int(told[1]) if told else error.errno
    if code == errno.ENOENT:
        hint = "is the board plugged in? `rig boards` lists what is there"
    elif code in (errno.EACCES, errno.EPERM):
        hint = (
            f"join its group: sudo usermod -aG {_group(url)} $USER, then log in again{_rule(url)}"
        )
    elif code == errno.EBUSY:
        hint = "wait until that program is done, or close it"
    elif code in (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH):
        hint = "is the serial server running, and host and port right?"
    else:
        hint = "check the console of this board in bench.toml"
    why = os.strerror(code) if told and code else error.strerror or error
    return BoardError(f"cannot open the console {url}: {why}", hint=hint)


def _group(path: str) -> str:
    """The group to join: the port's own, unless that is one that nobody should be in."""
    try:
        group = Path(path).group()
    except (OSError, KeyError):
        return "dialout"
    return group if group not in ("root", "tty") else "dialout"


def _locked(pid: int) -> str:
    """Which program it is, as far as /proc tells."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        name = ""
    return f"process {pid} has locked it" + (f" ({name})" if name else "")


def _locked_by(node: os.stat_result) -> int | None:
    """Another process that holds a port exclusively, as esptool and miniterm do (`flock`)."""
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:  # no Linux: nobody is seen, and the port is shared
        return None
    for pid, major, minor, inode in _FLOCK.findall(locks):
        device = os.makedev(int(major, 16), int(minor, 16))
        if (device, int(inode)) == (node.st_dev, node.st_ino) and int(pid) != os.getpid():
            return int(pid)
    return None


def _hung_up(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)  # hang-ups and errors are told without being asked for
    return bool(poll.poll(0))


def _write(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise SourceGone(error.strerror) from error


_IN_MODIFY, _IN_ATTRIB, _IN_MOVE_SELF, _IN_DELETE_SELF = 0x2, 0x4, 0x800, 0x400


def _watch(path: Path) -> int | None:
    """An inotify descriptor that wakes when `path` changes; None where there is no inotify."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except AttributeError:
        return None
    if descriptor < 0:
        return None
    mask = _IN_MODIFY | _IN_ATTRIB | _IN_MOVE_SELF | _IN_DELETE_SELF
    if libc.inotify_add_watch(descriptor, os.fsencode(path), mask) < 0:
        os.close(descriptor)
        return None
    return descriptor
