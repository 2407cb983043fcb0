"""The raw serial log of a run: every byte as it came, and beside it when it came.

`serial-BOARD.log` holds the bytes, nothing else. `serial-BOARD.log.idx` holds one record a read,
16 bytes, little-endian: the offset of the read's first byte in the log, and the monotonic
nanoseconds at which it was read, both unsigned 64-bit. Both files only grow, each read is written
with one system call, so that a `kill -9` loses at most what was not read yet.
"""

from __future__ import annotations

import bisect
import os
import re
import struct
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from rig.errors import HistoryError
from rig.history.room import Room

_STAMP = struct.Struct("<QQ")


class Stamp(NamedTuple):
    """The bytes from `offset` on were read at `t` (monotonic ns)."""

    offset: int
    t: int


def log_path(folder: Path, board: str) -> Path:
    """Where a board's raw log lives in a run's folder; unsafe characters of its name become `-`."""
    return folder / f"serial-{re.sub(r'[^A-Za-z0-9._-]+', '-', board) or 'board'}.log"


def index_path(log: Path) -> Path:
    """The time stamps of a raw log."""
    return log.with_name(log.name + ".idx")


class SerialLog:
    """Writes one raw log and its time stamps; a context manager.

    Goes on at the end of a log that exists. Raises `HistoryError` when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._room = Room(path.parent)
        # No link is followed: whoever may write to the folder could aim it at a file of the user's.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._log = os.open(path, flags, 0o644)
            try:
                self._index = os.open(index_path(path), flags, 0o644)
            except OSError:
                os.close(self._log)
                raise
            self.size = os.fstat(self._log).st_size
        except OSError as error:
            raise HistoryError(
                f"cannot write the serial log {path}: {error.strerror}",
                hint="choose a folder that you may write to",
            ) from error

    def append(self, data: bytes, t: int) -> None:
        """Keep `data`, read at `t` (monotonic ns). Raises `HistoryError`: no room, say."""
        self._room.take(len(data))
        try:
            os.write(self._index, _STAMP.pack(self.size, t))
            while data:
                written = os.write(self._log, data)
                self.size += written
                data = data[written:]
        except OSError as error:
            raise HistoryError(
                f"cannot write the serial log {self.path}: {error.strerror}",
                hint="free some space; what was written so far stays readable",
            ) from error

    def close(self) -> None:
        """Close both files; idempotent."""
        for name in ("_log", "_index"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                setattr(self, name, -1)
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def read_index(log: Path) -> list[Stamp]:
    """All time stamps of a raw log, in order. A torn last one is left out.

    Raises `HistoryError` when there are none to read.
    """
    path = index_path(log)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HistoryError(
            f"cannot read the time stamps {path}: {error.strerror}",
            hint="name the serial-BOARD.log in a run's folder; its .idx lies beside it",
        ) from error
    whole = len(data) - len(data) % _STAMP.size
    return [Stamp(*stamp) for stamp in _STAMP.iter_unpack(data[:whole])]


def time_of(stamps: list[Stamp], offset: int) -> int | None:
    """When the byte at `offset` was read (monotonic ns); None: before the first stamp."""
    at = bisect.bisect_right(stamps, offset, key=lambda stamp: stamp.offset)
    return stamps[at - 1].t if at else None
