"""An NVS partition: read, changed, made anew with every other key kept. Pure; trusts nothing.

Read here (there is no library for it on PyPI); written by Espressif's `esp-idf-nvs-partition-gen`.
Format: ESP-IDF programming guide, "NVS internals": pages of 4 KiB with a header, a bitmap of two
bits for each of 126 entries, entries of 32 bytes; CRC32 from 0xffffffff. Values may be secrets:
none is ever in a message.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

PAGE = 4096
SMALLEST = 3 * PAGE
"""Bytes: fewer pages cannot be written to (ESP-IDF, `nvs_flash_init`)."""
MAX_KEY = 15

_ACTIVE, _FULL, _FREEING, _UNUSED = 0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8, 0xFFFFFFFF
_ENTRIES = 126
_WRITTEN = 2
_VERSION_2 = 0xFE
_FORMATS = {0x01: "B", 0x11: "b", 0x02: "H", 0x12: "h", 0x04: "I", 0x14: "i", 0x08: "Q", 0x18: "q"}
_KINDS = {0x01: "u8", 0x11: "i8", 0x02: "u16", 0x12: "i16"}
_KINDS |= {0x04: "u32", 0x14: "i32", 0x08: "u64", 0x18: "i64"}
_STRING, _BLOB, _CHUNK, _INDEX = 0x21, 0x41, 0x42, 0x48

Name = tuple[str, str]
"""Namespace and key."""


class NvsError(ValueError):
    """It cannot be read, or not be made; the message says why and holds no value."""


class NvsEncrypted(NvsError):
    """Its entries are ciphertext."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a key holds. `kind`: `u8` ... `i64`, `string` (without its NUL) or `blob`."""

    kind: str
    content: int | bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a partition holds. `dropped`: entries that are damaged, which a chip drops too."""

    values: Mapping[Name, Value]
    namespaces: tuple[str, ...]
    version: int
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    space: int
    kind: int
    chunk: int
    key: str
    head: bytes = field(repr=False)
    data: bytes = field(repr=False)


def blob(content: bytes) -> Value:
    """A blob."""
    return Value("blob", content)


def string(text: str) -> Value:
    """A string."""
    return Value("string", text.encode())


def read_nvs(data: bytes) -> Contents:
    """What the partition holds, as ESP-IDF would read it.

    Raises `NvsEncrypted`, or `NvsError` for what is no NVS and for what could not be kept.
    """
    if len(data) % PAGE or len(data) < SMALLEST:
        raise NvsError(f"has {len(data)} bytes, expected a multiple of {PAGE} from {SMALLEST} on")
    pages, foreign, version = [], 0, 2
    for at in range(0, len(data), PAGE):
        page = data[at : at + PAGE]
        state, sequence = struct.unpack_from("<II", page)
        if page[:32] == b"\xff" * 32:
            continue
        if state not in (_ACTIVE, _FULL, _FREEING) or _crc(page[4:28]) != _word(page, 28):
            foreign += 1
            continue
        pages.append((sequence, page))
        version = 2 if page[8] == _VERSION_2 else 1
    if foreign and not pages:
        raise NvsError("holds something else than NVS (no page of it has a valid header)")
    entries: list[_Entry] = []
    dropped = 0
    for _, page in sorted(pages, key=lambda pair: pair[0]):
        whole, torn = _entries(page)
        entries += whole
        dropped += torn
    if dropped and not entries:
        raise NvsEncrypted("is encrypted (its pages are whole, and no entry in them is)")
    return _contents(entries, version, dropped + foreign)


def _entries(page: bytes) -> tuple[list[_Entry], int]:
    """The whole entries of a page, and how many of them are damaged."""
    found, torn, index = [], 0, 0
    while index < _ENTRIES:
        if page[32 + index // 4] >> index % 4 * 2 & 3 != _WRITTEN:
            index += 1
            continue
        head = page[64 + 32 * index : 96 + 32 * index]
        span = head[2]
        if _crc(head[:4] + head[8:]) != _word(head, 4) or not 1 <= span <= _ENTRIES - index:
            torn += 1
            index += 1
            continue
        data = b""
        if head[1] in (_STRING, _BLOB, _CHUNK):
            size = int.from_bytes(head[24:26], "little")
            data = page[96 + 32 * index : 96 + 32 * index + size]
            if size > 32 * (span - 1) or _crc(data) != _word(head, 28):
                torn += 1
                index += span
                continue
        key = head[8:24].split(b"\0", 1)[0].decode("latin-1")
        found.append(_Entry(head[0], head[1], head[3], key, head, data))
        index += span
    return found, torn


def _contents(entries: Sequence[_Entry], version: int, dropped: int) -> Contents:
    spaces = {e.head[24]: e.key for e in entries if e.space == 0 and e.kind == 0x01}
    chunks = {(e.space, e.key, e.chunk): e.data for e in entries if e.kind == _CHUNK}
    values: dict[Name, Value] = {}
    for entry in entries:
        if entry.space == 0 or entry.kind == _CHUNK:
            continue
        space = spaces.get(entry.space)
        if space is None:
            dropped += 1  # of a namespace that is not there: nobody can ask for it
            continue
        value = _value(entry, chunks)
        if value is None:
            dropped += 1
            continue
        name = (space, entry.key)
        values.pop(name, None)  # a newer one follows the older one's, which is about to be erased
        values[name] = value
    return Contents(values, tuple(dict.fromkeys(spaces.values())), version, dropped)


def _value(entry: _Entry, chunks: Mapping[tuple[int, str, int], bytes]) -> Value | None:
    """The value; None where parts of it are missing. Raises `NvsError` for an unknown type."""
    if entry.kind in _FORMATS:
        (number,) = struct.unpack_from(f"<{_FORMATS[entry.kind]}", entry.head, 24)
        return Value(_KINDS[entry.kind], int(number))
    if entry.kind == _STRING:
        return Value("string", entry.data.removesuffix(b"\0"))
    if entry.kind == _BLOB:
        return Value("blob", entry.data)
    if entry.kind == _INDEX:
        size, count, start = struct.unpack_from("<IBB", entry.head, 24)
        parts = [chunks.get((entry.space, entry.key, start + n)) for n in range(count)]
        whole = [part for part in parts if part is not None]
        content = b"".join(whole)
        return Value("blob", content) if len(whole) == count and len(content) == size else None
    raise NvsError(f"key {entry.key!r} has type {entry.kind:#04x}, which the rig could not keep")


def changed(old: Contents, put: Mapping[Name, Value], drop: frozenset[Name]) -> Contents:
    """The contents with keys set and others taken out; all else as it was."""
    values = {name: value for name, value in old.values.items() if name not in drop} | dict(put)
    spaces = tuple(dict.fromkeys([*old.namespaces, *(space for space, _ in put)]))
    return Contents(values, spaces, old.version)


def make_nvs(contents: Contents, size: int) -> bytes:
    """A partition of `size` bytes that holds exactly this, read back to be sure.

    Raises `NvsError` where it does not fit, or cannot be written.
    """
    # Here, not above: it takes 0.2 s to load, which only who writes a partition should pay.
    from esp_idf_nvs_partition_gen.nvs_partition_gen import (
        NVS,
        InputError,
        InsufficientSizeError,
        Page,
    )

    if size % PAGE or size < SMALLEST:
        raise NvsError(f"has {size} bytes, expected a multiple of {PAGE} from {SMALLEST} on")
    for name in [*contents.namespaces, *(key for _, key in contents.values)]:
        if not name.isascii() or not 1 <= len(name) <= MAX_KEY:
            raise NvsError(f"{name!r} is no name: expected 1 to {MAX_KEY} ASCII characters")
    made = io.BytesIO()
    version = Page.VERSION2 if contents.version == 2 else Page.VERSION1
    try:
        with NVS(made, size - PAGE, version) as nvs:
            for space in contents.namespaces:
                nvs.write_namespace(space)
                for key, encoding, value in _rows(contents, space):
                    nvs.write_entry(key, value, encoding)
    except InsufficientSizeError:
        raise NvsError(f"its {size} bytes are too few for all keys") from None
    except InputError as error:
        raise NvsError(f"esp-idf-nvs-partition-gen refuses it: {error}") from None
    image = made.getvalue()
    back = read_nvs(image)
    if len(image) != size or dict(back.values) != dict(contents.values) or back.dropped:
        raise NvsError("esp-idf-nvs-partition-gen made something else than it was asked for")
    return image


def _rows(contents: Contents, space: str) -> Iterator[tuple[str, str, int | str]]:
    for (owner, key), value in contents.values.items():
        if owner != space:
            continue
        if isinstance(value.content, int):
            yield key, value.kind, value.content
        elif value.kind == "blob":
            yield key, "hex2bin", value.content.hex()
        else:
            try:
                yield key, "string", value.content.decode()
            except UnicodeDecodeError:
                raise NvsError(
                    f"key {key!r} holds a string that is no UTF-8, which cannot be kept"
                ) from None


def differences(old: Contents, new: Contents) -> list[Name]:
    """Which keys differ, by name."""
    names = itertools.chain(old.values, new.values)
    return [n for n in dict.fromkeys(names) if old.values.get(n) != new.values.get(n)]


def _crc(data: bytes) -> int:
    return zlib.crc32(data, 0xFFFFFFFF)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
