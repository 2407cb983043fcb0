"""Images and partition tables: whole, torn and hostile."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_flasher.image import (
    ImageError,
    boot_partition,
    chip_id_of,
    read_image,
    read_partition_table,
)


def test_an_image_says_its_chip_and_its_size(firmware: Any) -> None:
    data = firmware.image(chip_id=5)

    image = read_image(data + b"\xff" * 100)

    assert (image.chip_id, image.size) == (5, len(data))


def test_an_application_says_which_firmware_it_is(firmware: Any) -> None:
    app = read_image(firmware.app(version="v0.7.0", elf=b"an ELF")).app

    assert app is not None
    assert (app.project, app.version, app.idf_version) == ("speaker", "v0.7.0", "v5.5.4")
    assert app.elf_sha256 == hashlib.sha256(b"an ELF").hexdigest()


def test_a_loader_has_no_application_descriptor(firmware: Any) -> None:
    assert read_image(firmware.image()).app is None


def test_control_characters_in_a_descriptor_never_reach_a_terminal(firmware: Any) -> None:
    app = read_image(firmware.app(version="v1\x1b[31m")).app

    assert app is not None
    assert app.version == "v1?[31m"


@pytest.mark.parametrize("hashed", [True, False])
def test_an_image_torn_anywhere_is_seen(firmware: Any, hashed: bool) -> None:
    data = firmware.image(segment=b"\x55" * 40, hashed=hashed)

    for length in range(len(data)):
        with pytest.raises(ImageError):
            read_image(data[:length])


def test_a_flipped_bit_in_a_segment_is_seen_by_the_checksum_alone(firmware: Any) -> None:
    data = bytearray(firmware.image(segment=b"\x55" * 40, hashed=False))
    data[40] ^= 0x10

    with pytest.raises(ImageError, match="checksum"):
        read_image(bytes(data))


def test_a_flipped_bit_in_the_header_is_seen_by_the_hash(firmware: Any) -> None:
    data = bytearray(firmware.image())
    data[2] ^= 1

    with pytest.raises(ImageError, match="SHA-256"):
        read_image(bytes(data))


def test_a_segment_that_claims_gigabytes_is_torn(firmware: Any) -> None:
    data = bytearray(firmware.image())
    data[28:32] = b"\xff\xff\xff\x7f"

    with pytest.raises(ImageError, match="segment 0 of 1 says 2147483647 bytes"):
        read_image(bytes(data))


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_crash_the_image_reader(data: bytes, magic: bool) -> None:
    if magic:
        data = b"\xe9\x01" + data
    with suppress(ImageError):
        assert read_image(data).size <= len(data)
    assert chip_id_of(data) is None or data[0] == 0xE9


@given(segments=st.lists(st.binary(max_size=9000), min_size=1, max_size=4))
def test_the_checksum_is_the_roms_xor_of_all_segments(segments: list[bytes]) -> None:
    expected = 0xEF
    for byte in b"".join(segments):
        expected ^= byte
    data = struct.pack("<BB22x", 0xE9, len(segments))
    data += b"".join(struct.pack("<II", 0, len(part)) + part for part in segments)
    data += b"\0" * (15 - len(data) % 16)

    assert read_image(data + bytes([expected])).size == len(data) + 1
    with pytest.raises(ImageError, match="checksum"):
        read_image(data + bytes([expected ^ 1]))


def test_a_partition_table_gives_its_rows(firmware: Any) -> None:
    rows = read_partition_table(firmware.table())

    assert [(row.name, row.offset, row.end) for row in rows] == [
        ("nvs", 0x9000, 0xF000),
        ("factory", 0x10000, 0x110000),
    ]


def test_an_altered_table_fails_its_md5(firmware: Any) -> None:
    data = bytearray(firmware.table())
    data[4] ^= 1

    with pytest.raises(ImageError, match="MD5"):
        read_partition_table(bytes(data))


def test_overlapping_partitions_are_named(firmware: Any) -> None:
    data = firmware.table(("app", 0, 0, 0x10000, 0x20000), ("data", 1, 2, 0x20000, 0x1000))

    with pytest.raises(ImageError, match=r"'data' at 0x20000 lies inside 'app'"):
        read_partition_table(data)


def test_the_factory_partition_boots_before_an_ota_slot(firmware: Any) -> None:
    table = read_partition_table(
        firmware.table(("ota_0", 0, 0x10, 0x10000, 0x1000), ("factory", 0, 0, 0x20000, 0x1000))
    )

    boot = boot_partition(table)

    assert boot is not None
    assert boot.name == "factory"


def test_without_a_factory_partition_the_first_ota_slot_boots(firmware: Any) -> None:
    table = read_partition_table(
        firmware.table(("ota_1", 0, 0x11, 0x10000, 0x1000), ("ota_0", 0, 0x10, 0x20000, 0x1000))
    )

    boot = boot_partition(table)

    assert boot is not None
    assert boot.name == "ota_0"


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_table_reader(data: bytes) -> None:
    with suppress(ImageError):
        assert read_partition_table(b"\xaa\x50" + data)
