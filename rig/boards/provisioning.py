"""WiFi credentials into a board: read its NVS, merge, write, verified; firmware untouched.

Before the first byte is written the partition's old content is put aside on this host (readable by
the user only), and taken away again once the chip's MD5 has confirmed the new one. So a cable that
is pulled in between loses no key: the next call finds the place torn (`firmware_flasher.memory`)
and merges into what was put aside.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firmware_flasher.bundle import Bundle, Region
from firmware_flasher.chips import CHIPS
from firmware_flasher.errors import FlashError
from firmware_flasher.flasher import flash
from firmware_flasher.image import TYPE_DATA, Partition
from firmware_flasher.memory import Memory, Span
from firmware_flasher.messages import Event
from rig.boards.base import Board
from rig.boards.flash_content import FlashContent, flash_content
from rig.boards.flashing import as_rig_error, flash_memory
from rig.boards.home import state_folder
from rig.boards.nvs_partition import (
    Contents,
    NvsEncrypted,
    NvsError,
    changed,
    differences,
    make_nvs,
    read_nvs,
)
from rig.boards.wifi_credentials import Provision, credentials
from rig.errors import BoardError

SUBTYPE_NVS, SUBTYPE_NVS_KEYS = 0x02, 0x04

OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What was done. `changed`: the keys that were set or taken out, by name; never a value."""

    mac: str
    partition: str
    offset: int
    namespace: str
    changed: tuple[str, ...]
    kept: int
    """Other keys of the partition, which are as they were."""
    restored: bool = False
    """It went on from what an interrupted call had put aside."""


async def provision_nvs(
    board: Board,
    way: Provision,
    ssid: str,
    passphrase: str,
    *,
    on_event: OnEvent = lambda _event: None,
) -> Provisioned:
    """Put the credentials into the board's NVS partition; hold its lock. Resets the board.

    Writes nothing where they are there already. Raises `BoardError` where the partition is not
    there, encrypted, broken or too small: then nothing was written.
    """
    async with flash_content(board, on_event=on_event, table_offset=way.table_offset) as content:
        table = await content.table()
        row = _partition(board, table, way.partition)
        raw = await content.read(row.offset, row.size)
        info = content.info
        assert info is not None
        aside = _aside(info.mac, row)
        restored = _is_torn(info.mac, row) and aside.is_file()
        if restored:
            raw = _read_aside(aside)
        elif not raw.strip(b"\xff"):
            await _refuse_encrypted(content, table, board.name, row)
        old = _read(board.name, row, raw)
        put, drop = credentials(way, ssid, passphrase, old)
        new = changed(old, put, drop)
        names = differences(old, new)
        if names or restored:
            image = _make(board.name, row, new)
            _put_aside(aside, raw)
            await _write(content, row, image, info.chip, on_event)
            aside.unlink(missing_ok=True)
    words = tuple(f"{space}:{key}" for space, key in names)
    kept = len(set(old.values) - set(put) - drop)
    return Provisioned(info.mac, row.name, row.offset, way.namespace, words, kept, restored)


def _partition(board: Board, table: tuple[Partition, ...], name: str) -> Partition:
    nvs = [r for r in table if (r.type, r.subtype) == (TYPE_DATA, SUBTYPE_NVS)]
    found = next((row for row in nvs if row.name == name), None)
    if found is not None:
        return found
    there = ", ".join(f"'{row.name}' at {row.offset:#x}" for row in nvs)
    raise BoardError(
        f"{board.name}: its partition table has no NVS partition '{name}'",
        hint=f"it has {there}: name it with --partition" if there else "add one to partitions.csv",
    )


async def _refuse_encrypted(
    content: FlashContent, table: tuple[Partition, ...], name: str, row: Partition
) -> None:
    """A blank partition beside written keys will be read as ciphertext."""
    keys = [r for r in table if (r.type, r.subtype) == (TYPE_DATA, SUBTYPE_NVS_KEYS)]
    if keys and (await content.read(keys[0].offset, 0x1000)).strip(b"\xff"):
        raise _encrypted(name, row)


def _encrypted(name: str, row: Partition) -> BoardError:
    return BoardError(
        f"{name}: the NVS partition '{row.name}' is encrypted: the rig has no key to it, and plain "
        "credentials in it would be unreadable to the firmware",
        hint="provision it by its firmware (Improv, an app); or build without NVS encryption",
    )


def _read(name: str, row: Partition, raw: bytes) -> Contents:
    try:
        return read_nvs(raw)
    except NvsEncrypted as error:
        raise _encrypted(name, row) from error
    except NvsError as error:
        raise BoardError(
            f"{name}: the partition '{row.name}' at {row.offset:#x} {error}; nothing was written",
            hint=f"start anew: rig erase {name} --offset {row.offset:#x} --size {row.size:#x}",
        ) from error


def _make(name: str, row: Partition, new: Contents) -> bytes:
    try:
        return make_nvs(new, row.size)
    except NvsError as error:
        raise BoardError(
            f"{name}: the credentials cannot be put into the partition '{row.name}': {error}; "
            "nothing was written",
            hint="make the partition larger (partitions.csv), or erase it to drop its other keys",
        ) from error


async def _write(
    content: FlashContent, row: Partition, image: bytes, chip: str, on_event: OnEvent
) -> None:
    """Write and verify; the board stays in its loader."""
    region = Region(row.offset, image, f"partition '{row.name}'")
    bundle = Bundle(f"partition '{row.name}'", "nvs", CHIPS[chip], (region,))
    try:
        await flash(
            bundle,
            content.port,
            on_event=on_event,
            reset=content.reset if content.owner_resets else None,
            memory=flash_memory(),
        )
    except FlashError as error:
        raise as_rig_error(error) from error


# What is put aside


def _aside(mac: str, row: Partition) -> Path:
    return state_folder() / "nvs-aside" / f"{mac.replace(':', '')}-{row.offset:x}.bin"


def _is_torn(mac: str, row: Partition) -> bool:
    """Whether the last write to this place never ended well."""
    place = Span(row.offset, row.size)
    return any(span.meets(place) for span in Memory(flash_memory()).last(mac).torn)


def _read_aside(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BoardError(
            f"cannot read {path}, the board's keys from before an interrupted write: "
            f"{error.strerror}",
            hint="make it readable, or remove it to start from what the board holds now",
        ) from error


def _put_aside(path: Path, raw: bytes) -> None:
    """On disk before the board is touched, for the user's eyes only: it may hold secrets."""
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise BoardError(
            f"cannot put the board's keys aside in {path}: {error.strerror}; nothing was written",
            hint="set SENDSPIN_RIG_HOME to a folder that you may write to",
        ) from error
