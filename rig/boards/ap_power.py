"""The access point's supply off for a while, by the bench's power driver, and on again for sure.

How it is put on is noted before it is switched off. The note is locked while its process lives; any
`rig` command that finds one unlocked puts the access point on. Nothing here is privileged.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import msgspec

from rig.boards.power import Power, switch
from rig.errors import BenchError, BoardError

NAME = "the access point"
_LARGEST = 1 << 16
_UNNAMED = ".new"
"""As of a journal without a name: `rig.air.journal.sweep` removes what a killed rig left of it."""


class Supply:
    """The access point's supply. `folder` is where notes are kept, their names end in `suffix`."""

    def __init__(self, power: Power, folder: Path, suffix: str) -> None:
        self._power = power
        self._path = folder / f"access-point-{os.getpid()}{suffix}"
        self._fd = -1

    async def off(self) -> None:
        """Note it, then switch off. Raises `BoardError`, `BenchError`."""
        fresh, fd = self._path.with_suffix(_UNNAMED), -1
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(fresh, flags, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, msgspec.json.encode(self._power))
            os.fsync(fd)
            self._path.hardlink_to(fresh)  # locked and whole; not over another one
            fresh.unlink()
        except OSError as error:
            if fd >= 0:
                fresh.unlink(missing_ok=True)
                os.close(fd)
            raise BoardError(
                f"cannot note that {NAME} is about to be off: {self._path}: {error.strerror}",
                hint="without a note it is not switched off",
            ) from error
        self._fd = fd
        await switch(NAME, self._power, False)

    async def on(self) -> None:
        """Switch on, and forget the note; idempotent. Raises `BoardError`: the note stays then."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            await switch(NAME, self._power, True)
            self._path.unlink(missing_ok=True)
        finally:
            os.close(fd)


async def on_again(note: Path) -> None:
    """Put on what a killed run left off. Raises `BoardError`, `BenchError`.

    Only a note that this user wrote, and nobody else could have: it names commands.
    """
    fd = os.open(note, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        is_ = os.fstat(fd)
        mine = stat.S_ISREG(is_.st_mode) and is_.st_uid == os.geteuid()
        if not mine or is_.st_mode & 0o022:
            raise BenchError(f"{note} is not this user's own, and is not acted upon")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # another one puts it on
        try:
            power = msgspec.json.decode(os.read(fd, _LARGEST), type=Power)
        except msgspec.DecodeError as error:
            raise BenchError(f"{note} is no note of the rig's: {error}") from error
        await switch(NAME, power, True)
        note.unlink(missing_ok=True)  # noqa: ASYNC240 (a moment)
    finally:
        os.close(fd)
