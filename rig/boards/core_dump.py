"""The core dump that a board keeps in flash: found, read, checked.

ESP-IDF, "Core Dump" and `esp_core_dump_types.h`: a partition of type data, subtype coredump; at its
start a header whose first word is the length of all of it, the last bytes of which are a SHA-256
or a CRC32 of what is before them.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from firmware_flasher.image import TYPE_DATA, Partition
from rig.boards.base import Board
from rig.boards.flash_content import FlashContent
from rig.errors import BoardError

SUBTYPE_COREDUMP = 0x03
HEADER = 24
_LINE = 48
"""Bytes a line when it is printed (ESP-IDF, `core_dump_uart.c`)."""


@dataclass(frozen=True, slots=True)
class KeptDump:
    """A core dump as it lies in flash. `whole`: its own checksum says so."""

    partition: Partition
    data: bytes = field(repr=False)
    whole: bool

    def printed(self) -> Iterator[str]:
        """As ESP-IDF would have printed it on the console."""
        yield "================= CORE DUMP START ================="
        for at in range(0, len(self.data), _LINE):
            yield base64.b64encode(self.data[at : at + _LINE]).decode()
        yield "================= CORE DUMP END ================="


async def read_core_dump(board: Board, content: FlashContent) -> KeptDump:
    """The core dump in the board's flash. Raises `BoardError` where there is none."""
    table = await content.table()
    rows = [row for row in table if (row.type, row.subtype) == (TYPE_DATA, SUBTYPE_COREDUMP)]
    if not rows:
        raise BoardError(
            f"{board.name}: its partition table has no core dump partition",
            hint="add a row to partitions.csv (coredump, data, coredump), and set "
            "CONFIG_ESP_COREDUMP_ENABLE_TO_FLASH",
        )
    row = rows[0]
    head = await content.read(row.offset, HEADER)
    if not head.strip(b"\xff"):
        raise BoardError(
            f"{board.name}: holds no core dump: the partition '{row.name}' at {row.offset:#x} is "
            "blank",
            hint="it has not crashed since that was erased, or its firmware writes none there",
        )
    length = int.from_bytes(head[:4], "little")
    if not HEADER < length <= row.size:
        raise BoardError(
            f"{board.name}: what is in the partition '{row.name}' is no core dump: it says that it "
            f"has {length} bytes, and the partition has {row.size}",
            hint=f"rig read-flash {board.name} FILE --offset {row.offset:#x} --size {row.size:#x}",
        )
    data = await content.read(row.offset, length)
    return KeptDump(row, data, _is_whole(data))


def _is_whole(data: bytes) -> bool:
    """By a SHA-256 or a CRC32 at its end, whichever its version has."""
    if hashlib.sha256(data[:-32]).digest() == data[-32:]:
        return True
    return zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
