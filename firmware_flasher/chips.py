"""The chips: their names, the id in an image header, where their second-stage loader lies.

Source: esptool 5.6, `targets/*.py` (`CHIP_NAME`, `IMAGE_CHIP_ID`, `BOOTLOADER_FLASH_OFFSET`);
a test compares this table with the installed esptool.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip family. `name` is esptool's and ESP-IDF's target name, `label` what is printed."""

    name: str
    label: str
    image_id: int
    bootloader_offset: int


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("esp32", "ESP32", 0, 0x1000),
        Chip("esp32s2", "ESP32-S2", 2, 0x1000),
        Chip("esp32c3", "ESP32-C3", 5, 0x0),
        Chip("esp32s3", "ESP32-S3", 9, 0x0),
        Chip("esp32c2", "ESP32-C2", 12, 0x0),
        Chip("esp32c6", "ESP32-C6", 13, 0x0),
        Chip("esp32h2", "ESP32-H2", 16, 0x0),
        Chip("esp32p4", "ESP32-P4", 18, 0x2000),
        Chip("esp32c61", "ESP32-C61", 20, 0x0),
        Chip("esp32c5", "ESP32-C5", 23, 0x2000),
        Chip("esp32h21", "ESP32-H21", 25, 0x0),
        Chip("esp32h4", "ESP32-H4", 28, 0x2000),
    )
}

_BY_ID = {chip.image_id: chip for chip in CHIPS.values()}


def chip_name(text: str) -> str:
    """The table's spelling of what people write: `ESP32-C3`, `esp32_c3` -> `esp32c3`."""
    return text.lower().replace("-", "").replace("_", "")


def chip_of_image(image_id: int) -> Chip | None:
    """The chip an image header's id stands for, or None: not one this table knows."""
    return _BY_ID.get(image_id)
