"""ESP application images and partition tables, read from bytes. Pure; trusts nothing.

Formats: ESP-IDF programming guide, "App Image Format" (header of 24 bytes, segments, a checksum
byte that pads to 16, a SHA-256 where byte 23 says so; `esp_app_desc_t` first in the first segment)
and "Partition Tables" (entries of 32 bytes from 0x8000, magic AA 50; MD5 row magic EB EB).
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

IMAGE_MAGIC = 0xE9
HEADER_SIZE = 24
SECTOR = 0x1000
PARTITION_TABLE_OFFSET = 0x8000
PARTITION_TABLE_SIZE = 0xC00

_APP_MAGIC = 0xABCD5432
_APP_DESC = struct.Struct("<II8x32s32s16s16s32s32s")
_MAX_SEGMENTS = 16
_CHECKSUM_SEED = 0xEF
_PARTITION = struct.Struct("<2sBBII16sI")
_PARTITION_MAGIC = b"\xaa\x50"
_MD5_MAGIC = b"\xeb\xeb"
_TABLE_END = b"\xff\xff"
TYPE_APP = 0x00
TYPE_DATA = 0x01
SUBTYPE_FACTORY = 0x00
SUBTYPE_OTA_0 = 0x10
SUBTYPE_OTADATA = 0x00


class ImageError(ValueError):
    """The bytes are not what they should be; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class AppDescriptor:
    """`esp_app_desc_t`: which firmware an image is. `elf_sha256` is hex, of the linked ELF file."""

    project: str
    version: str
    built: str
    idf_version: str
    elf_sha256: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image's header facts. `size`: its bytes with checksum and hash, not what follows."""

    chip_id: int
    entry: int
    flash_mode: int
    size: int
    app: AppDescriptor | None


@dataclass(frozen=True, slots=True)
class Partition:
    """One row of a partition table; offset and size in bytes."""

    name: str
    type: int
    subtype: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.size


def looks_like_image(data: bytes) -> bool:
    """Whether the bytes could begin an image: the magic and a sane number of segments."""
    return len(data) >= HEADER_SIZE and data[0] == IMAGE_MAGIC and 0 < data[1] <= _MAX_SEGMENTS


def chip_id_of(data: bytes) -> int | None:
    """The chip id of an image's header, None where there is no image."""
    return int.from_bytes(data[12:14], "little") if looks_like_image(data) else None


def read_image(data: bytes) -> Image:
    """Read and check an image as the ROM does: segments, checksum, SHA-256.

    Raises `ImageError` for anything that a chip would refuse too.
    """
    if not data:
        raise ImageError("is empty")
    if data[0] != IMAGE_MAGIC:
        raise ImageError(f"starts with 0x{data[0]:02x}, an ESP image starts with 0xe9")
    if len(data) < HEADER_SIZE:
        raise ImageError(f"is {len(data)} bytes long, the header alone has {HEADER_SIZE}")
    count, entry = data[1], int.from_bytes(data[4:8], "little")
    if not 0 < count <= _MAX_SEGMENTS:
        raise ImageError(f"says it has {count} segments, expected 1 to {_MAX_SEGMENTS}")
    checksum = _CHECKSUM_SEED
    end = HEADER_SIZE
    for start, end in _segments(data, count):
        for folded in _fold(data[start:end]):
            checksum ^= folded
    end += 15 - end % 16  # the checksum is the last byte of a row of 16
    if end >= len(data):
        raise ImageError(f"is torn: its checksum at 0x{end:x} is missing ({len(data)} bytes)")
    if data[end] != checksum:
        raise ImageError(f"fails its checksum: 0x{checksum:02x} expected, 0x{data[end]:02x} found")
    size = end + 1
    if data[23] == 1:
        if hashlib.sha256(data[:size]).digest() != data[size : size + 32]:
            raise ImageError("fails its SHA-256: torn or altered")
        size += 32
    return Image(
        chip_id=int.from_bytes(data[12:14], "little"),
        entry=entry,
        flash_mode=data[2],
        size=size,
        app=read_app_descriptor(data),
    )


def _fold(block: bytes) -> bytes:
    """XOR of a block down to 8 bytes; in large integers, as byte by byte is far slower."""
    total = 0
    width = 4096
    for start in range(0, len(block), width):
        total ^= int.from_bytes(block[start : start + width].ljust(width, b"\0"), "little")
    while width > 8:
        width //= 2
        total = (total >> (8 * width)) ^ (total & ((1 << (8 * width)) - 1))
    return total.to_bytes(8, "little")


def _segments(data: bytes, count: int) -> Iterator[tuple[int, int]]:
    at = HEADER_SIZE
    for index in range(count):
        if at + 8 > len(data):
            raise ImageError(f"is torn: segment {index} of {count} is missing ({len(data)} bytes)")
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if at + length > len(data):
            raise ImageError(
                f"is torn: segment {index} of {count} says {length} bytes, "
                f"{len(data) - at} are there"
            )
        yield at, at + length
        at += length


def read_app_descriptor(data: bytes) -> AppDescriptor | None:
    """The application descriptor, None where there is none (a second-stage loader has none)."""
    start = HEADER_SIZE + 8
    if len(data) < start + _APP_DESC.size:
        return None
    magic, _secure, version, project, time, date, idf, sha = _APP_DESC.unpack_from(data, start)
    if magic != _APP_MAGIC:
        return None
    return AppDescriptor(
        project=_text(project),
        version=_text(version),
        built=f"{_text(date)} {_text(time)}".strip(),
        idf_version=_text(idf),
        elf_sha256=bytes(sha).hex(),
    )


def _text(field: bytes) -> str:
    """A C string field; what a terminal must not see becomes `?`."""
    text = bytes(field).split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)


def looks_like_partition_table(data: bytes) -> bool:
    """Whether the bytes begin with a partition table row."""
    return len(data) >= _PARTITION.size and data[:2] == _PARTITION_MAGIC


def read_partition_table(data: bytes) -> tuple[Partition, ...]:
    """The rows of a partition table. Raises `ImageError`: bad row, bad MD5, overlap, no rows."""
    rows: list[Partition] = []
    for at in range(0, min(len(data), PARTITION_TABLE_SIZE) - 31, 32):
        row = data[at : at + 32]
        if row[:2] == _TABLE_END:
            break
        if row[:2] == _MD5_MAGIC:
            if hashlib.md5(data[:at], usedforsecurity=False).digest() != row[16:]:
                raise ImageError("fails its MD5: torn or altered")
            break
        if row[:2] != _PARTITION_MAGIC:
            raise ImageError(f"row {len(rows)} has magic {row[:2].hex()}, expected aa50")
        _, kind, subtype, offset, size, name, _flags = _PARTITION.unpack(row)
        rows.append(Partition(_text(name), kind, subtype, offset, size))
    if not rows:
        raise ImageError("has no partition in it")
    ordered = sorted(rows, key=lambda row: row.offset)
    for first, second in itertools.pairwise(ordered):
        if second.offset < first.end:
            raise ImageError(
                f"partition {second.name!r} at 0x{second.offset:x} lies inside {first.name!r}, "
                f"which ends at 0x{first.end:x}"
            )
    return tuple(rows)


def boot_partition(table: tuple[Partition, ...]) -> Partition | None:
    """What a board with blank OTA data boots: the factory partition, else the first OTA slot.

    Source: ESP-IDF bootloader, `bootloader_utility_get_selected_boot_partition`.
    """
    apps = sorted(
        (row for row in table if row.type == TYPE_APP and row.subtype <= SUBTYPE_OTA_0 + 15),
        key=lambda row: row.subtype,
    )
    return apps[0] if apps else None
