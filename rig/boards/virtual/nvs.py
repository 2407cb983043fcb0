"""The NVS partition: reads what esp-idf-nvs-partition-gen or ESP-IDF wrote, and stores integers.

Format: ESP-IDF 5.5, `nvs_flash` (pages of 4 KiB, 126 entries of 32 bytes, CRC32 from 0xffffffff).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from rig.boards.virtual.flash import SECTOR, NorFlash

Value = int | str | bytes
_INTEGERS = {0x01: "<B", 0x02: "<H", 0x04: "<I", 0x08: "<Q"}
_INTEGERS |= {0x11: "<b", 0x12: "<h", 0x14: "<i", 0x18: "<q"}
_STRING, _BLOB, _BLOB_DATA, _BLOB_INDEX = 0x21, 0x41, 0x42, 0x48
_ACTIVE, _FULL = 0xFFFFFFFE, 0xFFFFFFFC
_ENTRIES = 126


def _crc(data: bytes) -> int:
    return zlib.crc32(data, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Item:
    """An entry that is written and whose CRC holds: its place, head and the data after it."""

    page: int
    index: int
    raw: bytes
    namespace: int
    kind: int
    chunk: int
    key: str
    """Namespace names are items of namespace 0."""


class Nvs:
    """The partition at `offset`; what is torn or foreign in it is passed over."""

    def __init__(self, flash: NorFlash, offset: int, size: int) -> None:
        self._flash = flash
        self._pages = range(offset, offset + size - size % SECTOR, SECTOR)

    def get(self, namespace: str, key: str) -> Value | None:
        """The value, None when there is none of that name."""
        items = list(self._items())
        space = self._namespace(items, namespace)
        found = [item for item in items if item.namespace == space and item.key == key]
        for item in reversed(found):
            if item.kind in _INTEGERS:
                (number,) = struct.unpack_from(_INTEGERS[item.kind], item.raw, 24)
                return int(number)
            if item.kind == _STRING:
                return _payload(item).rstrip(b"\0").decode("utf-8", "replace")
            if item.kind == _BLOB:
                return _payload(item)
            if item.kind == _BLOB_INDEX:
                _size, count, start = struct.unpack_from("<IBB", item.raw, 24)
                parts = {i.chunk: _payload(i) for i in found if i.kind == _BLOB_DATA}
                return b"".join(parts.get(start + n, b"") for n in range(count))
        return None

    def put(self, namespace: str, key: str, value: int) -> None:
        """Keep an integer as u32, as `nvs_set_u32` and `nvs_commit` do; lost without partition."""
        if not self._pages:
            return
        items = list(self._items())
        space = self._namespace(items, namespace)
        if space is None:
            space = 1 + max((i.raw[24] for i in items if i.namespace == 0), default=0)
            self._append(_entry(0, 0x01, namespace, struct.pack("<B", space)))
        self._append(_entry(space, 0x04, key, struct.pack("<I", value & 0xFFFFFFFF)))
        for item in items:
            if item.namespace == space and item.key == key:
                self._mark(item.page, item.index, 0)

    @staticmethod
    def _namespace(items: list[Item], name: str) -> int | None:
        return next((i.raw[24] for i in items if i.namespace == 0 and i.key == name), None)

    def _items(self, only: int | None = None) -> Iterator[Item]:
        """All sound items, oldest page first."""
        pages = []
        for page in self._pages if only is None else [only]:
            state, sequence = struct.unpack("<II", self._flash.read(page, 8))
            if state in (_ACTIVE, _FULL):
                pages.append((sequence, page))
        for _, page in sorted(pages):
            content = self._flash.read(page, SECTOR)
            index = 0
            while index < _ENTRIES:
                raw = content[64 + index * 32 : 96 + index * 32]
                here, span = index, 1
                if _state(content, index) == 2 and _crc(raw[:4] + raw[8:]) == _word(raw, 4):
                    span = max(1, raw[2])
                    raw = content[64 + index * 32 : 64 + (index + span) * 32]
                    key = raw[8:24].split(b"\0")[0].decode("latin-1")
                    yield Item(page, here, raw, raw[0], raw[1], raw[3], key)
                index += span

    def _append(self, entry: bytes) -> None:
        """Write an entry into the active page, or a fresh one, or the one with most waste."""
        span = len(entry) // 32
        states = {page: _word(self._flash.read(page, 4), 0) for page in self._pages}
        for page, state in states.items():
            if state == _ACTIVE:
                used = [i for i in range(_ENTRIES) if _state(self._flash.read(page, 64), i) != 3]
                index = max(used, default=-1) + 1
                if index + span <= _ENTRIES:
                    self._flash.poke(page + 64 + index * 32, entry)
                    for at in range(span):
                        self._mark(page, index + at, 2)
                    return
                self._flash.poke(page, struct.pack("<I", _FULL))
        blank = [p for p in self._pages if self._flash.read(p, 4) == b"\xff" * 4]
        if blank:
            self._open(blank[0])
        else:
            page = min(self._pages, key=lambda p: sum(len(i.raw) for i in self._items(p)))
            kept = [item.raw for item in self._items(page)]
            if sum(len(raw) for raw in kept) + len(entry) > _ENTRIES * 32:
                return  # ESP_ERR_NVS_NOT_ENOUGH_SPACE, which the application does not mind
            self._flash.wipe(page)
            self._open(page)
            for raw in kept:
                self._append(raw)
        self._append(entry)

    def _open(self, page: int) -> None:
        heads = [struct.unpack("<II", self._flash.read(other, 8)) for other in self._pages]
        sequence = max((number for state, number in heads if state in (_ACTIVE, _FULL)), default=-1)
        body = struct.pack("<IB", sequence + 1, 0xFE) + b"\xff" * 19
        self._flash.poke(page, struct.pack("<I", _ACTIVE) + body + struct.pack("<I", _crc(body)))

    def _mark(self, page: int, index: int, state: int) -> None:
        byte = 0xFF & ~((3 ^ state) << index % 4 * 2)
        self._flash.poke(page + 32 + index // 4, bytes([byte]))


def _entry(namespace: int, kind: int, key: str, data: bytes) -> bytes:
    name = key.encode("latin-1")[:15].ljust(16, b"\0")
    head, tail = bytes([namespace, kind, 1, 0xFF]), name + data.ljust(8, b"\xff")
    return head + struct.pack("<I", _crc(head + tail)) + tail


def _payload(item: Item) -> bytes:
    """The data of a string or blob; nothing when its CRC does not hold."""
    size, crc = struct.unpack_from("<H2xI", item.raw, 24)
    data = item.raw[32 : 32 + size]
    return data if _crc(data) == crc else b""


def _state(page: bytes, index: int) -> int:
    """3 empty, 2 written, 0 erased."""
    return page[32 + index // 4] >> index % 4 * 2 & 3


def _word(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")
