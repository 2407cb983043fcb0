"""Who answered where: the MACs that were asked for once, kept by USB place and serial number.

A listing must not reset running boards, so it asks no chip; it remembers. What is kept is a cache:
a broken one is an empty one, and boards swapped behind one adapter go unnoticed until a probe.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from firmware_flasher.chips import CHIPS
from firmware_flasher.messages import ChipInfo
from rig.boards.base import Board, Identified, Identity
from rig.boards.home import state_folder
from rig.errors import BoardError

_LARGEST = 1 << 20


def identity_of(info: ChipInfo, firmware: str | None = None) -> Identity:
    """What is kept of a chip that answered."""
    label = CHIPS[info.chip].label if info.chip in CHIPS else info.chip
    return Identity(info.mac, label, info.revision or None, firmware)


def note(board: Board, identity: Identity) -> None:
    """Keep who the board is, where it can be; a listing that cannot is no reason to fail."""
    if isinstance(board, Identified) and identity.mac:
        with contextlib.suppress(BoardError):
            board.remember(identity)


def place_key(place: str, serial: str | None) -> str:
    """What an identity is kept by: USB place (else device or URL), and the adapter's serial."""
    return f"{place}|{serial or ''}"


def remember(key: str, identity: Identity) -> None:
    """Keep who answered there. Raises `BoardError` where the state folder cannot be written.

    What this one leaves open (a flash knows no firmware, say) stays as it was for the same MAC.
    """
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _turn(path.with_suffix(".lock")):
            known = remembered()
            known[key] = _joined(known.get(key), identity)
            mac = identity.mac  # unknown in secure download mode, and of most emulators
            for other in [at for at, one in known.items() if mac and one.mac == mac and at != key]:
                del known[other]  # it was there before: a chip is in one place
            part = path.with_suffix(".part")
            part.write_bytes(msgspec.json.encode(known))
            part.replace(path)
    except OSError as error:
        raise BoardError(
            f"cannot keep who is on {key.partition('|')[0]} in {path}: {error.strerror}",
            hint="set SENDSPIN_RIG_HOME to a folder that you may write to",
        ) from error


def remembered() -> dict[str, Identity]:
    """What was found so far, by key."""
    try:
        with _file().open("rb") as file:
            return msgspec.json.decode(file.read(_LARGEST), type=dict[str, Identity])
    except (OSError, msgspec.DecodeError):
        return {}


def _joined(old: Identity | None, new: Identity) -> Identity:
    if old is None or old.mac != new.mac:
        return new
    return Identity(
        new.mac,
        new.chip or old.chip,
        new.revision or old.revision,
        new.firmware or old.firmware,
    )


@contextlib.contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """One writer at a time: several boards are asked at once."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _file() -> Path:
    return state_folder() / "identities.json"
