"""Room on the disk: a run ends before it has filled the file system that others work on, too."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rig.errors import HistoryError

KEEP_FREE = 200_000_000
"""Bytes that a run leaves free on the file system of its folder ..."""
KEEP_SHARE = 0.05
"""... or this share of the whole, where that is less: a small RAM disk is usable, too."""
EVERY_BYTES = 4 << 20
"""It is looked at again after so many bytes at most (and half of what is left),"""
EVERY_S = 2.0
"""and after so many seconds: others write there as well."""


class Room:
    """Watches the free space around `path` while something grows there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0
        """Bytes until it is looked at again."""
        self._looked = 0.0

    def take(self, size: int) -> None:
        """Account for `size` bytes about to be written. Raises `HistoryError` when room is short.

        A file system that cannot be asked is taken to have room: the write itself will tell.
        """
        self._due -= size
        now = time.monotonic()
        if self._due > 0 and now - self._looked < EVERY_S:
            return
        self._looked = now
        try:
            usage = shutil.disk_usage(self._path)
        except OSError:
            return
        keep = min(KEEP_FREE, int(usage.total * KEEP_SHARE))
        self._due = min(EVERY_BYTES, (usage.free - keep) // 2)
        if usage.free < keep:
            raise HistoryError(
                f"the disk is nearly full: {usage.free / 1e6:.0f} MB are free around {self._path}, "
                f"{keep / 1e6:.0f} MB are to stay free",
                hint="free some space, or name a folder elsewhere with --out; what was written so "
                "far stays readable",
            )
