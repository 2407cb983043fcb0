"""The table of chips against the installed esptool."""

from __future__ import annotations

import pytest
from esptool.targets import CHIP_DEFS

from firmware_flasher.chips import CHIPS, chip_name, chip_of_image


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_is_as_esptool_has_it(name: str) -> None:
    rom = CHIP_DEFS[name]

    assert CHIPS[name].label == rom.CHIP_NAME
    assert CHIPS[name].image_id == rom.IMAGE_CHIP_ID
    assert CHIPS[name].bootloader_offset == rom.BOOTLOADER_FLASH_OFFSET


@pytest.mark.parametrize("text", ["esp32c3", "ESP32-C3", "esp32_c3"])
def test_people_may_spell_a_chip_as_they_like(text: str) -> None:
    assert chip_name(text) == "esp32c3"


def test_an_unknown_image_id_is_no_chip() -> None:
    assert chip_of_image(0xFFFF) is None
