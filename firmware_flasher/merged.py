"""A merged image: flash from offset 0 on, as one file. What is in it, and where."""

from __future__ import annotations

from collections.abc import Iterator

from firmware_flasher.bundle import Region
from firmware_flasher.chips import CHIPS, Chip, chip_of_image
from firmware_flasher.errors import BundleError
from firmware_flasher.image import (
    PARTITION_TABLE_OFFSET,
    PARTITION_TABLE_SIZE,
    SECTOR,
    ImageError,
    Partition,
    chip_id_of,
    looks_like_partition_table,
    read_app_descriptor,
    read_partition_table,
)


def cut_merged(
    data: bytes, label: str, chip: Chip, table: tuple[Partition, ...]
) -> Iterator[Region]:
    """A merged image by its partitions, nothing left out.

    A device writes into its own flash (NVS, OTA data): an application beside it that is the same
    as before need not be written again for that.
    """
    names = {0: "start", chip.bootloader_offset: "bootloader"}
    if table:
        names[_table_offset(data)] = "partition table"
    for row in sorted(table, key=lambda row: row.offset):
        names.setdefault(row.end, f"after {row.name}")
        names[row.offset] = row.name
    places = sorted(place for place in names if place % SECTOR == 0 and place < len(data))
    for place, end in zip(places, [*places[1:], len(data)], strict=True):
        yield Region(place, data[place:end], f"{label}: {names[place]}")


def merged_chip(data: bytes, label: str, looked_for: str) -> Chip:
    """The chip that the second-stage loader is for. `looked_for`: the files a folder may have.

    Raises `BundleError` for what is no image of flash from 0 on.
    """
    if not data:
        raise BundleError(f"{label}: is empty")
    for offset in sorted({chip.bootloader_offset for chip in CHIPS.values()}):
        chip_id = chip_id_of(data[offset : offset + 64])
        if chip_id is None or (offset and data[:offset].strip(b"\xff\x00")):
            continue
        chip = chip_of_image(chip_id)
        if offset == 0 and read_app_descriptor(data) is not None:
            raise BundleError(
                f"{label}: an application without loader and partition table: "
                "nothing says where in flash it belongs",
                hint="name the build folder, or the merged image "
                "(idf.py merge-bin; ESPHome: firmware.factory.bin)",
            )
        if chip is None:
            raise BundleError(f"{label}: image for an unknown chip (id {chip_id})")
        if chip.bootloader_offset == offset:
            return chip
    raise BundleError(
        f"{label}: no merged image: no second-stage loader at 0x0, 0x1000 or 0x2000 "
        f"(starts with {data[:4].hex()})",
        hint=f"expected flash from offset 0 on; or a folder with {looked_for}",
    )


def merged_table(data: bytes, label: str) -> tuple[Partition, ...]:
    """The partition table: at 0x8000, or where a larger loader pushed it."""
    offset = _table_offset(data)
    if not offset:
        raise BundleError(
            f"{label}: no partition table from 0x{PARTITION_TABLE_OFFSET:x} on; "
            "a merged image has one",
            hint="name the build folder, or merge again",
        )
    try:
        return read_partition_table(data[offset : offset + PARTITION_TABLE_SIZE])
    except ImageError as error:
        raise BundleError(f"{label}: partition table at 0x{offset:x}: {error}") from None


def _table_offset(data: bytes) -> int:
    """Where in a merged image its partition table lies; 0: nowhere."""
    for offset in range(PARTITION_TABLE_OFFSET, 0x20000, SECTOR):
        if looks_like_partition_table(data[offset : offset + PARTITION_TABLE_SIZE]):
            return offset
    return 0
