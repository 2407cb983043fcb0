"""The board's home folder, and what is said to whoever holds the board: known to both sides.

Apart from the model, so that a command that only talks to a running board does not load one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

from rig.errors import BoardError

READY = b'{"ready": true}\n'
HOLD, RELEASE = b'{"do": "hold"}\n', b'{"do": "release"}\n'


def mac_address(home: Path, number: int) -> bytes:
    """The board's MAC: locally administered, the same for the same home and number."""
    digest = hashlib.sha256(f"{home.resolve()}#{number}".encode()).digest()
    return b"\x7e\xdf\xa1" + digest[:2] + bytes([number & 0xFF])


def open_in(home: Path, name: str) -> BinaryIO:
    """A file in the home folder, to append to; both are made where there are none.

    Raises `BoardError`.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        return (home / name).open("ab")
    except OSError as error:
        raise BoardError(
            f"cannot keep the virtual board in {home}: {error.strerror}",
            hint="set SENDSPIN_RIG_HOME to a folder that you may write to",
        ) from error


def take_lock(home: Path) -> int | None:
    """Hold the home folder until this process has ended, and all that is its with it.

    A descriptor; None: another process holds the folder. Raises `BoardError`.
    """
    with open_in(home, "lock") as file:
        lock = os.dup(file.fileno())  # nobody closes this one
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


@contextlib.contextmanager
def short_path(folder: Path) -> Any:
    """A name for `folder` that fits into a unix socket's address however deep the folder lies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
