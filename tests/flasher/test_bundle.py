"""A bundle's own arithmetic and the words for its settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_flasher.bundle import Bundle, Region, check_bundle, check_settings, size_in_bytes
from firmware_flasher.chips import CHIPS
from firmware_flasher.errors import BundleError
from firmware_flasher.image import Partition
from firmware_flasher.messages import Settings

ONE = Region(0x0, b"loader", "loader.bin")
TWO = Region(0x8000, b"more", "more.bin")
BUNDLE = Bundle("build", "ESP-IDF build", CHIPS["esp32c3"], (ONE, TWO))


def test_a_bundle_needs_flash_to_the_end_of_its_last_partition() -> None:
    with_table = replace(BUNDLE, table=(Partition("nvs", 1, 2, 0x9000, 0x6000),))

    assert BUNDLE.needs == 0x8004
    assert with_table.needs == 0xF000


@pytest.mark.parametrize(
    "change",
    [
        {"regions": (ONE,)},
        {"regions": (ONE, replace(TWO, offset=0x9000))},
        {"regions": (ONE, replace(TWO, data=b"mare"))},
        {"regions": (ONE, replace(TWO, encrypted=True))},
        {"settings": Settings(mode="dio")},
        {"chip": CHIPS["esp32c6"]},
    ],
)
def test_the_digest_covers_all_that_reaches_the_flash(change: dict[str, object]) -> None:
    assert replace(BUNDLE, **change).digest != BUNDLE.digest


def test_the_digest_does_not_depend_on_where_the_files_lie() -> None:
    moved = replace(BUNDLE, origin="copy", regions=(ONE, replace(TWO, source="copy/more.bin")))

    assert moved.digest == BUNDLE.digest


@pytest.mark.parametrize(
    ("text", "size"), [("512KB", 524_288), ("4MB", 4_194_304), ("keep", None), ("detect", None)]
)
def test_a_flash_size_is_read_as_esptool_writes_it(text: str, size: int | None) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "4", "4 MB", "0MB", "4GB", "-4MB", "99999MB"])
def test_any_other_flash_size_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="flash_size"):
        check_settings(Settings(size=text), "args.json")


def test_a_bundle_without_a_region_is_refused() -> None:
    with pytest.raises(BundleError, match="nothing to write"):
        check_bundle(replace(BUNDLE, regions=()))


def test_bytes_at_the_loaders_place_that_are_no_loader_are_refused() -> None:
    with pytest.raises(BundleError, match=r"loader\.bin at 0x0: no second-stage loader"):
        check_bundle(BUNDLE)
