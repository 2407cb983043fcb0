"""What a helper is about to change, on disk before it is changed: the promise to heal.

One file a helper, locked while the helper lives. A helper that ends in order removes it; one that
is killed leaves it, and whoever finds it without a lock undoes what stands in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta, Struct

from rig.air.leftovers import SUFFIX
from rig.air.protocol import Hotspot, Interface, Mac, Megahertz
from rig.errors import FaultError

_LARGEST = 1 << 20
_UNNAMED = ".new"

TableName = Annotated[str, Meta(pattern=r"\Asrig_[a-z0-9]{4,12}_[0-9]{1,9}\Z")]


class Head(Struct, frozen=True, tag_field="entry", tag="head"):
    """Whose journal it is."""

    run: str
    pid: int
    start: int
    """The process's start time, in clock ticks since boot (`/proc/PID/stat`, field 22)."""
    boot: str
    netns: int
    """Inode of the network namespace that is changed."""


class Table(Struct, frozen=True, tag_field="entry", tag="table"):
    """An nftables table of ours."""

    family: Literal["ip", "netdev"]
    name: TableName


class Qdisc(Struct, frozen=True, tag_field="entry", tag="qdisc"):
    """A root queueing discipline of ours; `handle` is its major number."""

    interface: Interface
    index: Annotated[int, Meta(ge=1)]
    handle: Annotated[int, Meta(ge=0x5200, le=0x52FF)]


class Arp(Struct, frozen=True, tag_field="entry", tag="arp"):
    """A device that was told a wrong link address for this host."""

    interface: Interface
    device: str
    device_mac: Mac
    own: str
    own_mac: Mac


class Link(Struct, frozen=True, tag_field="entry", tag="link"):
    """The interface of a link to one board alone, which is down."""

    interface: Interface
    index: Annotated[int, Meta(ge=1)]


class AccessPoint(Struct, frozen=True, tag_field="entry", tag="access-point"):
    """An access point that is off the air, or on another channel than `mhz`."""

    hostapd: str | None = None
    hotspot: Hotspot | None = None
    mhz: Megahertz | None = None
    """The channel that it was on; None: it is off."""


class Transmitter(Struct, frozen=True, tag_field="entry", tag="transmitter"):
    """An access point's radio that sends with another power than `mbm`, in 0.01 dBm."""

    interface: Interface
    mbm: Annotated[int, Meta(ge=-10_000, le=10_000)]


class Device(Struct, frozen=True, tag_field="entry", tag="device"):
    """An ifb device of ours, with a queue on it that packets are sent through."""

    name: Annotated[str, Meta(pattern=r"\Asrig[a-z0-9]{1,11}\Z")]


class Detour(Struct, frozen=True, tag_field="entry", tag="detour"):
    """Filters of ours that send an interface's packets through devices of ours."""

    interface: Interface
    index: Annotated[int, Meta(ge=1)]
    number: Annotated[int, Meta(ge=0x5200, le=0x52FF)]
    """Their preference."""


Change = Table | Qdisc | Arp | Link | AccessPoint | Device | Detour | Transmitter


class Undone(Struct, frozen=True, tag_field="entry", tag="undone"):
    """The change of that number (1-based, in the order of the file) is taken back."""

    number: int


_decoder = msgspec.json.Decoder(Head | Change | Undone)


class Journal:
    """The journal of a living helper; a context manager that removes it when all is undone."""

    def __init__(self, folder: Path, run: str) -> None:
        """Make it, locked. Raises `FaultError`."""
        self.path = folder / f"{run}-{os.getpid()}{SUFFIX}"
        self._pending: dict[int, Change] = {}
        self._count = 0
        fresh = self.path.with_suffix(_UNNAMED)
        try:
            with as_caller():
                folder.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._fd = os.open(fresh, flags, 0o644)
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                self._write(Head(run, os.getpid(), start_time(os.getpid()), boot_id(), netns()))
                fresh.rename(self.path)
                _sync_folder(folder)
        except OSError as error:
            raise FaultError(
                f"cannot write the journal {self.path}: {error.strerror}",
                hint="without a journal nothing is changed; set SENDSPIN_RIG_HOME elsewhere",
            ) from error

    def will(self, change: Change) -> int:
        """Note what is about to be changed, safe on disk; the number is for `undone`."""
        self._write(change)
        self._count += 1
        self._pending[self._count] = change
        return self._count

    def undone(self, number: int) -> None:
        """Note that a change is taken back."""
        if self._pending.pop(number, None) is not None:
            self._write(Undone(number))

    @property
    def pending(self) -> dict[int, Change]:
        """What is changed now, by number."""
        return dict(self._pending)

    def _write(self, entry: Struct) -> None:
        data = msgspec.json.encode(entry) + b"\n"
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(28, "no space left")
            os.fsync(self._fd)
        except OSError as error:
            raise FaultError(
                f"cannot write the journal {self.path}: {error.strerror}",
                hint="nothing was changed; free some space",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._pending:
            with as_caller(), contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        os.close(self._fd)


def read(path: Path) -> tuple[Head | None, list[Change]]:
    """A dead helper's journal: whose it was, and what it had not undone (newest first).

    No head: it is no journal of the rig's, for that is written before a journal has its name. A
    torn last line is one that was not changed yet. Lines that are no entries are skipped: nothing
    but the entries above can be undone by a journal.
    """
    with as_caller():
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None, []
        lines = file.read(_LARGEST).split(b"\n")[:-1]
    head: Head | None = None
    changes: dict[int, Change] = {}
    number = 0
    for line in lines:
        try:
            entry = _decoder.decode(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, Head):
            head = entry
        elif isinstance(entry, Undone):
            changes.pop(entry.number, None)
        else:
            number += 1
            changes[number] = entry
    return head, [changes[each] for each in sorted(changes, reverse=True)]


@contextlib.contextmanager
def adopt(path: Path) -> Iterator[bool]:
    """Take a dead helper's journal over: False when it lives, or another healer was faster."""
    try:
        with as_caller():
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = path.exists() and path.stat().st_ino == os.fstat(fd).st_ino
    except OSError:
        mine = False
    try:
        yield mine
    finally:
        os.close(fd)


def forget(path: Path) -> None:
    """Remove an adopted journal: nothing is left of it."""
    with as_caller():
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove journals whose helper was killed before they had a name: nothing was done."""
    for path in folder.glob(f"*-*{_UNNAMED}"):
        pid = path.stem.rpartition("-")[2]
        if pid.isdecimal() and start_time(int(pid)) == 0:
            with as_caller(), contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def as_caller() -> Iterator[None]:
    """Make files as the user who called sudo, so that root is never lent to write anywhere."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not uid.isdigit() or not gid.isdigit() or int(uid) == 0:
        yield
        return
    groups, own_gid = os.getgroups(), os.getegid()
    os.setgroups([int(gid)])
    os.setegid(int(gid))
    os.seteuid(int(uid))
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_gid)
        os.setgroups(groups)


def boot_id() -> str:
    """This boot of this machine: after another one nothing is left of any change."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def netns() -> int:
    """The inode of this process's network namespace."""
    return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 (a magic link)


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
