"""A progress bar over a long log."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rig.console.screen import Screen

LONG = 32 << 20
"""Bytes above which reading a log takes long enough to say how far it is."""


class Counted:
    """A binary file that tells how many bytes were read from it."""

    def __init__(self, file: BinaryIO, tell: Callable[[int], None]) -> None:
        self._file = file
        self._tell = tell
        self.peek = getattr(file, "peek", None)

    def read(self, size: int = -1, /) -> bytes:
        """Read, and tell."""
        data = self._file.read(size)
        self._tell(len(data))
        return data


@contextmanager
def reading(file: BinaryIO, name: str) -> Iterator[Callable[[int], None] | None]:
    """A bar on stderr while a long regular file is read, where a person looks; else None."""
    size = 0
    if sys.stderr.isatty():
        status = os.fstat(file.fileno())
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    with _bar(name, size) as tell:
        yield tell


@contextmanager
def reading_all(names: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """A bar over many logs, of which other processes read some; told of each that is done."""
    sizes = {}
    for name in names if sys.stderr.isatty() else ():
        with suppress(OSError, ValueError):
            sizes[name] = Path(name).stat().st_size
    with _bar(f"{len(names)} logs", sum(sizes.values())) as tell:
        yield lambda name: tell(sizes.get(name, 0)) if tell is not None else None


@contextmanager
def _bar(name: str, size: int) -> Iterator[Callable[[int], None] | None]:
    if size < LONG:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Screen(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=size)
        yield lambda count: progress.advance(task, count)
