"""What each board's flash holds as far as this host has written it: one small file a board.

Before the first byte is written the places are noted as torn, and as whole once the chip's MD5
has confirmed them. So a flash that was interrupted, by whatever means, is known as such next time.
Of what was written hashes are kept, sector by sector, and no bytes: a bundle may hold secrets.
What is kept is a guess, never a proof: another tool may have written since, and the chip's own MD5
has the last word.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from firmware_flasher.image import SECTOR
from firmware_flasher.messages import Piece

HASH_SIZE = 8
"""Bytes kept of a sector's BLAKE2b: enough to guess by."""

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5,7}[0-9a-f]{2}")


class Span(msgspec.Struct, frozen=True):
    """`size` bytes of flash from `offset` on."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.size

    def meets(self, other: Span) -> bool:
        """Whether they share a sector."""
        return self.offset < _up(other.end) and other.offset < _up(self.end)


class Kept(msgspec.Struct, frozen=True):
    """What was written to one place: a hash for each of its sectors."""

    span: Span
    sectors: bytes


class Record(msgspec.Struct, frozen=True):
    """What is known of one board's flash.

    `torn`: places whose last write never ended well. `label`: which firmware was written last, for
    people. `when`: seconds since 1970.
    """

    label: str = ""
    when: float = 0.0
    whole: list[Kept] = []
    torn: list[Span] = []


def default_folder() -> Path:
    """`firmware_flasher/` in the user's state folder (XDG). Makes nothing."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "firmware_flasher"


class Memory:
    """The records of one folder. Writing raises `OSError`; reading never does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self, mac: str) -> Record:
        """What is known of the board with that MAC; an empty record where nothing is."""
        path = self._path(mac)
        if path is None:
            return Record()
        try:
            return msgspec.json.decode(path.read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return Record()  # none, or broken: then nothing is known

    def begin(self, mac: str, spans: Sequence[Span], label: str) -> None:
        """These places change from now on. On disk, not only in a cache, on return."""
        known = self.last(mac)
        torn = [*_without(known.torn, spans), *spans]
        self._save(mac, Record(label, time.time(), _apart(known.whole, spans), torn))

    def finish(self, mac: str, spans: Sequence[Span], kept: Sequence[Kept], label: str) -> None:
        """These places are as they should be. `kept`: what the chip confirms is in them."""
        known = self.last(mac)
        whole = [*_apart(known.whole, spans), *kept]
        self._save(mac, Record(label, time.time(), whole, _without(known.torn, spans)))

    def _path(self, mac: str) -> Path | None:
        """The board's file; a board says its MAC itself, so it is looked at before it is used."""
        return self._folder / f"{mac.replace(':', '')}.json" if _MAC.fullmatch(mac) else None

    def _save(self, mac: str, record: Record) -> None:
        path = self._path(mac)
        if path is None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(record))
                file.flush()
                os.fsync(file.fileno())
            Path(new).replace(path)
        except OSError:
            Path(new).unlink(missing_ok=True)
            raise


def keep(piece: Piece) -> Kept:
    """What is remembered of a piece."""
    return Kept(span_of(piece), b"".join(_hashes(piece.data)))


def guess(kept: Iterable[Kept], piece: Piece) -> bytes | None:
    """A stand-in for what lies where `piece` goes, for esptool's `diff_with`.

    It equals the piece in each sector that is the same by its hash, and in no other. None: nothing
    is known of the place, or every sector of it has changed, or none has (the chip's MD5 is asked
    then).
    """
    old = next((one for one in kept if one.span.offset == piece.offset), None)
    if old is None:
        return None
    hashes = _hashes(piece.data)
    known = len(old.sectors) // HASH_SIZE
    same = [
        at < known and old.sectors[at * HASH_SIZE : (at + 1) * HASH_SIZE] == mine
        for at, mine in enumerate(hashes)
    ]
    if all(same) or not any(same):
        return None
    stand_in = bytearray(piece.data)
    for at, alike in enumerate(same):
        if not alike:  # one byte that differs makes a sector a changed one
            stand_in[at * SECTOR] ^= 0xFF
    return bytes(stand_in)


def _hashes(data: bytes) -> list[bytes]:
    return [
        hashlib.blake2b(data[at : at + SECTOR], digest_size=HASH_SIZE).digest()
        for at in range(0, len(data), SECTOR)
    ]


def span_of(piece: Piece) -> Span:
    """The place of a piece."""
    return Span(piece.offset, len(piece.data))


def _up(address: int) -> int:
    """The next sector's beginning, or this one."""
    return -(-address // SECTOR) * SECTOR


def _apart(whole: Iterable[Kept], spans: Sequence[Span]) -> list[Kept]:
    """What none of the places touches."""
    return [one for one in whole if not any(one.span.meets(span) for span in spans)]


def _without(torn: Iterable[Span], spans: Sequence[Span]) -> list[Span]:
    """What is left of torn places outside of the others' sectors."""
    left = []
    for one in torn:
        at = one.offset
        for span in sorted(spans, key=lambda span: span.offset):
            if not span.meets(Span(at, one.end - at)):
                continue
            if at < span.offset:
                left.append(Span(at, span.offset - at))
            at = _up(span.end)
        if at < one.end:
            left.append(Span(at, one.end - at))
    return left
