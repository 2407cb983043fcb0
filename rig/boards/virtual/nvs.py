"""The NVS partition as the firmware uses it: read by the rig's own reader, integers stored.

Format: ESP-IDF 5.5, `nvs_flash` (pages of 4 KiB, 126 entries of 32 bytes, CRC32 from 0xffffffff).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from rig.boards.nvs_partition import NvsError, read_nvs
from rig.boards.virtual.flash import SECTOR, NorFlash

_ACTIVE, _FULL = 0xFFFFFFFE, 0xFFFFFFFC
_ENTRIES = 126
_EMPTY, _WRITTEN = 3, 2
_U8, _U32 = 0x01, 0x04


class Nvs:
    """The partition at `offset`; what is torn or foreign in it is passed over."""

    def __init__(self, flash: NorFlash, offset: int, size: int) -> None:
        self._flash = flash
        self._offset, self._size = offset, size - size % SECTOR

    def get(self, namespace: str, key: str) -> int | bytes | None:
        """The value (a string's bytes), None when there is none of that name."""
        try:
            found = read_nvs(self._flash.read(self._offset, self._size)).values
        except NvsError:
            return None
        value = found.get((namespace, key))
        return value.content if value else None

    def put(self, namespace: str, key: str, value: int) -> None:
        """Keep an integer as u32, as `nvs_set_u32` and `nvs_commit` do; lost where no room is."""
        spaces = {
            _key(raw): raw[24] for _, _, state, raw in self._entries() if state and not raw[0]
        }
        if namespace not in spaces:
            spaces[namespace] = 1 + max(spaces.values(), default=0)
            self._write(0, _U8, namespace, bytes([spaces[namespace]]))
        self._write(spaces[namespace], _U32, key, struct.pack("<I", value & 0xFFFFFFFF))

    def _entries(self) -> Iterator[tuple[int, int, bool, bytes]]:
        """Page, place, whether it is in use, and head of all entries of the pages in use."""
        for page in range(self._offset, self._offset + self._size, SECTOR):
            content = self._flash.read(page, SECTOR)
            if int.from_bytes(content[:4], "little") not in (_ACTIVE, _FULL):
                continue
            index = 0
            while index < _ENTRIES:
                raw = content[64 + index * 32 : 96 + index * 32]
                state = content[32 + index // 4] >> index % 4 * 2 & 3
                if state in (_EMPTY, _WRITTEN):
                    yield page, index, state == _WRITTEN, raw
                index += max(1, raw[2]) if state == _WRITTEN else 1

    def _write(self, space: int, kind: int, key: str, data: bytes) -> None:
        """Put an entry in its predecessor's place, else in the first empty one.

        The page is written anew, at once; ESP-IDF appends, and marks the predecessor erased.
        """
        places: dict[bool, tuple[int, int]] = {}
        for page, index, used, raw in self._entries():
            if not used or (raw[0] == space and _key(raw) == key):
                places.setdefault(used, (page, index))
        if not places:
            return  # ESP_ERR_NVS_NOT_ENOUGH_SPACE, which the application does not mind
        page, index = places.get(True) or places[False]
        head = bytes([space, kind, 1, 0xFF])
        tail = key.encode("latin-1")[:15].ljust(16, b"\0") + data.ljust(8, b"\xff")
        crc = struct.pack("<I", zlib.crc32(head + tail, 0xFFFFFFFF))
        content = bytearray(self._flash.read(page, SECTOR))
        content[64 + index * 32 : 96 + index * 32] = head + crc + tail
        content[32 + index // 4] &= ~(1 << index % 4 * 2)  # written: 10, from empty: 11
        self._flash.wipe(page)
        self._flash.poke(page, bytes(content))


def _key(raw: bytes) -> str:
    return raw[8:24].split(b"\0")[0].decode("latin-1")
