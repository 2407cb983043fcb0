"""One advisory lock: a file under `flock`, with a note in it of who holds it.

The kernel drops the lock when its holder ends, however it ends: a lock cannot be stale, only its
note can, and the next holder writes its own. The file is removed by whoever lets go of it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from rig.errors import BoardError

ENVIRONMENT = "SENDSPIN_RIG_LOCKS"
FOLDERS = (Path("/run/lock"), Path("/tmp"))
"""Where locks may lie that all users of a machine share; the first that takes a folder."""
_NOTE_BYTES = 2_000
_SETTLING = 50
"""How often a lock without a note is asked again: its holder is about to write one, or to go."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, in its own words: not to be trusted further than to be shown."""

    what: str
    pid: int = 0
    host: str = ""
    purpose: str = ""
    since: float = 0.0
    """Seconds since the epoch."""

    def __str__(self) -> str:
        when = time.strftime("%H:%M:%S", time.localtime(self.since)) if self.since else "?"
        where = f" on {self.host}" if self.host and self.host != socket.gethostname() else ""
        return f"{self.purpose or 'a process'} (pid {self.pid or '?'}{where}) since {when}"


def lock_folder() -> Path:
    """The folder of the locks, made if need be: `$SENDSPIN_RIG_LOCKS`, or one all users share.

    Shared, it is like /tmp: everybody may add files, nobody may remove another's. Raises
    `BoardError` where there is none to be had, or what is there is a trap.
    """
    if given := os.environ.get(ENVIRONMENT):
        folder = Path(given)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_folder(folder, error.strerror) from error
        return folder
    for parent in FOLDERS:
        if os.access(parent, os.W_OK | os.X_OK) or (parent / "sendspin-rig").is_dir():
            return _shared(parent / "sendspin-rig")
    raise _no_folder(FOLDERS[0], "not writable")


def _shared(folder: Path) -> Path:
    try:
        folder.mkdir()
        folder.chmod(0o1777)
    except FileExistsError:
        pass
    except OSError as error:
        raise _no_folder(folder, error.strerror) from error
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise _no_folder(folder, "not a folder")
    return folder


def _no_folder(folder: Path, why: str | None) -> BoardError:
    return BoardError(
        f"cannot keep locks in {folder}: {why}",
        hint=f"set {ENVIRONMENT} to a folder that all users of these boards may write to",
    )


class LockFile:
    """The lock on one thing. Not re-entrant. Blocks nobody but the caller of `acquire`."""

    def __init__(self, what: str, folder: Path | None = None) -> None:
        """`what` names the thing for people and machines alike: `/dev/ttyUSB0`, a URL."""
        self.what = what
        self.path = (folder or lock_folder()) / f"{sha256(what.encode()).hexdigest()[:24]}.lock"
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._fd >= 0

    def acquire(self, purpose: str, *, wait: bool = False) -> Holder | None:
        """Take it: None. Held already: its holder (not with `wait`, which blocks till it is free).

        Raises `BoardError` where the file cannot be made.
        """
        for attempt in range(sys.maxsize):
            fd = self._open()
            if _flock(fd, wait=wait):
                if self._is_there(fd):
                    self._fd = fd
                    self._write(purpose)
                    return None
                os.close(fd)  # its last holder removed it: the lock is another file by now
                continue
            holder, there = _note(fd, self.what), self._is_there(fd)
            os.close(fd)
            if there and (holder.pid or attempt >= _SETTLING):
                return holder
            time.sleep(0.002)
        raise AssertionError("unreachable")

    def release(self) -> None:
        """Let go of it, and remove its file. Does nothing when it is not held."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            self.path.unlink()
        except OSError:  # another user's file: it stays, empty
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)

    def holder(self) -> Holder | None:
        """Who holds it now, in whatever process; None: nobody. Takes nothing."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _note(fd, self.what) if is_locked(os.fstat(fd)) else None
        finally:
            os.close(fd)

    def _open(self) -> int:
        """The file that is at `path` now; opened before it is made, for sticky folders' sake."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        for attempt in range(_SETTLING):
            try:
                fd = os.open(self.path, flags | (os.O_CREAT | os.O_EXCL if attempt % 2 else 0))
            except (FileNotFoundError, FileExistsError):
                continue
            except OSError as error:
                raise _no_folder(self.path, error.strerror) from error
            if attempt % 2:
                os.fchmod(fd, 0o666)  # whatever the umask: the next holder may be another user
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise _no_folder(self.path, "not a file")
            return fd
        raise _no_folder(self.path, "its file comes and goes")

    def _is_there(self, fd: int) -> bool:
        try:
            now = self.path.lstat()
        except OSError:
            return False
        mine = os.fstat(fd)
        return (now.st_dev, now.st_ino) == (mine.st_dev, mine.st_ino)

    def _write(self, purpose: str) -> None:
        holder = Holder(self.what, os.getpid(), socket.gethostname(), purpose, time.time())
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, msgspec.json.encode(holder)[:_NOTE_BYTES], 0)


def held_locks(folder: Path | None = None) -> Iterator[Holder]:
    """Every lock in the folder that is held now."""
    for path, holder in _files(folder):
        if is_locked(path):
            yield holder


def remove_stale(folder: Path | None = None) -> list[Holder]:
    """Remove the files that killed holders left, and say whose they were. Held ones stay."""
    removed = []
    for _, left in _files(folder):
        lock = LockFile(left.what, folder)
        if left.what and lock.acquire("removing what is stale") is None:
            lock.release()
            removed.append(left)
    return removed


def _files(folder: Path | None) -> Iterator[tuple[os.stat_result, Holder]]:
    for path in sorted((folder or lock_folder()).glob("*.lock")):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # let go of meanwhile
        try:
            yield os.fstat(fd), _note(fd, "")
        finally:
            os.close(fd)


def _flock(fd: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def is_locked(file: os.stat_result) -> bool:
    """Whether some process has a `flock` on a file, by /proc/locks: asking takes nothing."""
    mark = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any(line.split()[1:2] == ["FLOCK"] and mark in line.split() for line in locks)


def _note(fd: int, what: str) -> Holder:
    """What the file says of its holder; an unnamed one where it says nothing that makes sense."""
    try:
        return msgspec.json.decode(os.pread(fd, _NOTE_BYTES, 0), type=Holder)
    except (OSError, msgspec.DecodeError):
        return Holder(what)
