"""Every kind of bundle, and every way in which one can be wrong."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_flasher.errors import BundleError
from firmware_flasher.loading import load_bundle

Build = Callable[..., Path]


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for file in folder.rglob("*"):
            out.write(file, Path("build") / file.relative_to(folder))
    return path


# What is good


def test_an_idf_build_gives_its_regions_in_order(build: Build) -> None:
    bundle = load_bundle(build())

    assert [region.offset for region in bundle.regions] == [0x0, 0x8000, 0x10000]
    assert bundle.chip.name == "esp32c3"
    assert (bundle.settings.mode, bundle.settings.freq, bundle.settings.size) == (
        "dio",
        "80m",
        "4MB",
    )


def test_a_bundle_says_which_firmware_it_is(build: Build) -> None:
    bundle = load_bundle(build())

    assert bundle.app is not None
    assert (bundle.app.project, bundle.app.version) == ("speaker", "v1.2.3")


def test_the_elf_file_is_found_by_its_hash(build: Build) -> None:
    folder = build(files={"a-stranger.elf": b"another build"})

    assert load_bundle(folder).elf == folder / "speaker.elf"


def test_an_elf_file_of_another_build_is_not_taken(build: Build) -> None:
    folder = build(files={"speaker.elf": b"built later"})

    assert load_bundle(folder).elf is None


def test_a_project_folder_leads_to_its_build(build: Build, tmp_path: Path) -> None:
    build(name="project/build")

    assert load_bundle(tmp_path / "project").app is not None


def test_an_encrypted_region_is_marked(build: Build) -> None:
    def encrypt(args: dict[str, Any]) -> None:
        args["app"]["encrypted"] = "true"

    assert [region.encrypted for region in load_bundle(build(encrypt)).regions] == [
        False,
        False,
        True,
    ]


def test_a_zip_holds_the_same_bundle_as_its_folder(build: Build, tmp_path: Path) -> None:
    folder = build()

    bundle = load_bundle(zipped(folder, tmp_path / "firmware.zip"))

    assert bundle.digest == load_bundle(folder).digest


def test_the_digest_changes_with_any_byte(build: Build, firmware: Any) -> None:
    one = load_bundle(build(name="one"))
    two = load_bundle(build(name="two", files={"speaker.bin": firmware.app(version="v1.2.4")}))

    assert one.digest != two.digest


@pytest.mark.parametrize(
    ("chip_id", "offset", "name"),
    [(5, 0, "esp32c3"), (0, 0x1000, "esp32"), (18, 0x2000, "esp32p4")],
)
def test_a_merged_image_is_known_by_where_its_loader_lies(
    tmp_path: Path, firmware: Any, chip_id: int, offset: int, name: str
) -> None:
    path = tmp_path / "merged.bin"
    path.write_bytes(firmware.merged(chip_id, offset))

    bundle = load_bundle(path)

    assert (bundle.chip.name, bundle.kind, bundle.regions[0].offset) == (name, "merged image", 0)
    assert bundle.app is not None
    assert bundle.app.version == "v1.2.3"


def test_an_esphome_folder_leads_to_its_factory_image(tmp_path: Path, firmware: Any) -> None:
    (tmp_path / "firmware.factory.bin").write_bytes(firmware.merged())
    (tmp_path / "firmware.bin").write_bytes(firmware.app())
    (tmp_path / "firmware.elf").write_bytes(b"ELF")

    bundle = load_bundle(tmp_path)

    assert bundle.regions[0].source.endswith("firmware.factory.bin: bootloader")
    assert bundle.elf == tmp_path / "firmware.elf"


def test_a_platformio_folder_is_put_together_by_its_table(tmp_path: Path, firmware: Any) -> None:
    (tmp_path / "bootloader.bin").write_bytes(firmware.image())
    (tmp_path / "partitions.bin").write_bytes(
        firmware.table(
            ("otadata", 1, 0, 0xE000, 0x2000),
            ("app0", 0, 0x10, 0x10000, 0x100000),
            ("app1", 0, 0x11, 0x110000, 0x100000),
        )
    )
    (tmp_path / "firmware.bin").write_bytes(firmware.app())

    regions = load_bundle(tmp_path).regions

    assert [region.offset for region in regions] == [0x0, 0x8000, 0xE000, 0x10000]
    assert regions[2].data == b"\xff" * 0x2000  # a stale choice of slots must not survive


def platformio(folder: Path, firmware: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "bootloader.bin").write_bytes(firmware.image())
    (folder / "partitions.bin").write_bytes(firmware.table())
    (folder / "firmware.bin").write_bytes(firmware.app())
    return folder


def test_a_platformio_project_leads_to_its_one_environment(tmp_path: Path, firmware: Any) -> None:
    built = platformio(tmp_path / ".pio/build/esp32c3", firmware)

    assert load_bundle(tmp_path).digest == load_bundle(built).digest


def test_of_several_environments_one_must_be_named(tmp_path: Path, firmware: Any) -> None:
    for name in ("debug", "release"):
        platformio(tmp_path / ".pio/build" / name, firmware)

    with pytest.raises(BundleError, match="several firmwares in it") as caught:
        load_bundle(tmp_path)

    assert caught.value.hint is not None
    assert ".pio/build/debug, " in caught.value.hint


def test_an_archive_is_known_by_its_first_bytes_too(build: Build, tmp_path: Path) -> None:
    folder = build()
    shutil.make_archive(str(tmp_path / "artifact"), "zip", folder)
    (tmp_path / "artifact.zip").rename(tmp_path / "artifact")

    bundle = load_bundle(tmp_path / "artifact")

    assert bundle.digest == load_bundle(folder).digest
    assert (bundle.elf, bundle.packed_elf) == (None, b"ELF")


def test_a_table_with_giant_ota_data_costs_no_memory(tmp_path: Path, firmware: Any) -> None:
    (tmp_path / "bootloader.bin").write_bytes(firmware.image())
    (tmp_path / "partitions.bin").write_bytes(
        firmware.table(
            ("app0", 0, 0x10, 0x10000, 0x100000), ("otadata", 1, 0, 0x200000, 0x7FFFF000)
        )
    )
    (tmp_path / "firmware.bin").write_bytes(firmware.app())

    with pytest.raises(BundleError, match="'otadata' ends at"):
        load_bundle(tmp_path)


# What is wrong


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("flash_files", {}, "flash_files: empty"),
        ("flash_files", {"zero": "speaker.bin"}, "flash_files: 'zero'; expected an offset"),
        ("flash_files", {"-1": "speaker.bin"}, "flash_files: '-1'"),
        ("flash_files", {"0x0": 5}, "flash_files.*Expected `str`, got `int`"),
        ("flash_files", ["speaker.bin"], "flash_files: Expected `object`, got `array`"),
        ("flash_files", {"0x0": "nope.bin"}, "flash_files: 0x0: .*nope.bin: there is no such file"),
        ("flash_settings", {"flash_size": 4}, "flash_settings.flash_size: Expected `str`"),
        ("flash_settings", {"flash_size": "4 MB"}, "flash_settings.flash_size: '4 MB'"),
        ("flash_settings", {"flash_mode": "quad"}, "flash_settings.flash_mode: 'quad'"),
        ("flash_settings", {"flash_freq": "80"}, "flash_settings.flash_freq: '80'"),
        ("extra_esptool_args", {"chip": "esp99"}, "extra_esptool_args.chip: unknown chip 'esp99'"),
        ("app", {"offset": 5}, "app.offset: Expected `str`, got `int`"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(
    build: Build, field: str, value: object, message: str
) -> None:
    def change(args: dict[str, Any]) -> None:
        args[field] = value

    with pytest.raises(BundleError, match=f"flasher_args.json: {message}"):
        load_bundle(build(change))


def test_a_missing_field_is_named(build: Build) -> None:
    with pytest.raises(BundleError, match=r"flasher_args.json: flash_files: .*required"):
        load_bundle(build(lambda args: args.pop("flash_files")))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"nul", b"[" * 100_000])
def test_what_is_no_json_object_is_said_to_be_none(build: Build, text: bytes) -> None:
    folder = build()
    (folder / "flasher_args.json").write_bytes(text)

    with pytest.raises(BundleError, match=r"flasher_args\.json: "):
        load_bundle(folder)


def test_an_empty_file_is_named(build: Build) -> None:
    with pytest.raises(BundleError, match=r"speaker\.bin: is empty"):
        load_bundle(build(files={"speaker.bin": b""}))


def test_a_torn_application_is_not_flashed(build: Build, firmware: Any) -> None:
    with pytest.raises(BundleError, match=r"speaker\.bin at 0x10000: is torn"):
        load_bundle(build(files={"speaker.bin": firmware.app()[:-60]}))


def test_force_lets_a_torn_application_pass(build: Build, firmware: Any) -> None:
    folder = build(files={"speaker.bin": firmware.app()[:-20]})

    assert len(load_bundle(folder, force=True).regions) == 3


def test_an_application_for_another_chip_is_named(build: Build, firmware: Any) -> None:
    with pytest.raises(BundleError, match=r"speaker\.bin.*built for ESP32-S3.*for ESP32-C3"):
        load_bundle(build(files={"speaker.bin": firmware.app(chip_id=9)}))


def test_a_bundle_for_another_chip_than_asked_for_is_refused(build: Build) -> None:
    with pytest.raises(BundleError, match=r"built for ESP32-C3, not for ESP32-S3"):
        load_bundle(build(), chip="esp32s3")


def test_overlapping_regions_are_both_named(build: Build, firmware: Any) -> None:
    def closer(args: dict[str, Any]) -> None:
        args["flash_files"]["0x12000"] = "partition-table.bin"

    with pytest.raises(BundleError, match=r"partition-table\.bin.*overlaps.*speaker\.bin"):
        load_bundle(build(closer))


def test_an_offset_inside_a_sector_is_refused(build: Build) -> None:
    def odd(args: dict[str, Any]) -> None:
        args["flash_files"]["0x8800"] = "speaker.bin"

    with pytest.raises(BundleError, match="0x8800 is not a multiple of 0x1000"):
        load_bundle(build(odd))


def test_an_application_larger_than_its_partition_is_refused(build: Build, firmware: Any) -> None:
    small = firmware.table(("factory", 0, 0, 0x10000, 0x1000))

    with pytest.raises(BundleError, match=r"do not fit partition 'factory', which has 4096"):
        load_bundle(build(files={"partition-table.bin": small}))


def test_a_table_larger_than_the_flash_is_refused(build: Build, firmware: Any) -> None:
    large = firmware.table(("factory", 0, 0, 0x10000, 0x500000))

    with pytest.raises(BundleError, match=r"'factory' ends at 0x510000.*4MB"):
        load_bundle(build(files={"partition-table.bin": large}))


def test_a_bare_application_is_told_from_a_merged_image(tmp_path: Path, firmware: Any) -> None:
    path = tmp_path / "firmware.bin"
    path.write_bytes(firmware.app())

    with pytest.raises(BundleError, match="an application without loader") as caught:
        load_bundle(path)
    assert "firmware.factory.bin" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\xff" * 5000, b"\xe9"])
def test_a_file_that_is_no_firmware_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)

    with pytest.raises(BundleError, match=r"x\.bin: "):
        load_bundle(path)


def test_a_folder_without_firmware_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no firmware in it") as caught:
        load_bundle(tmp_path)
    assert "flasher_args.json" in str(caught.value)


def test_an_update_alone_is_told_from_a_firmware(tmp_path: Path, firmware: Any) -> None:
    (tmp_path / "firmware.ota.bin").write_bytes(firmware.app())

    with pytest.raises(
        BundleError, match=r"firmware\.ota\.bin is an update for a device that runs"
    ):
        load_bundle(tmp_path)


def test_of_three_files_the_missing_one_is_named(tmp_path: Path, firmware: Any) -> None:
    (platformio(tmp_path / "env", firmware) / "partitions.bin").unlink()

    with pytest.raises(
        BundleError, match=r"bootloader\.bin, firmware\.bin without partitions\.bin"
    ):
        load_bundle(tmp_path / "env")


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nope: there is no such file or folder"):
        load_bundle(tmp_path / "nope")


def test_an_unreadable_file_is_named(build: Build) -> None:
    folder = build()
    (folder / "speaker.bin").chmod(0)
    if os.access(folder / "speaker.bin", os.R_OK):
        pytest.skip("root may read everything")

    with pytest.raises(BundleError, match=r"speaker\.bin: cannot be read"):
        load_bundle(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
fields = st.sampled_from(["flash_files", "flash_settings", "extra_esptool_args", "app", "x", "0x0"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(fields, json_values | st.dictionaries(st.text(), st.text())))
def test_any_flasher_args_gives_a_bundle_or_one_clear_error(
    tmp_path: Path, change: dict[str, object]
) -> None:
    (tmp_path / "flasher_args.json").write_text(json.dumps(change))

    with pytest.raises(BundleError):  # never a good one: its files do not exist
        load_bundle(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000), magic=st.sampled_from([b"", b"\xe9\x01", b"PK\x03\x04"]))
def test_any_file_gives_one_clear_error(tmp_path: Path, data: bytes, magic: bytes) -> None:
    for name in ("x.bin", "x.zip"):
        path = tmp_path / name
        path.write_bytes(magic + data)
        with pytest.raises(BundleError):
            load_bundle(path)


@pytest.mark.parametrize("way", ["absolute", "upwards", "link"])
def test_a_build_cannot_have_a_file_of_mine_written_to_the_board(
    build: Callable[..., Path], tmp_path: Path, way: str
) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_bytes(b"secret")
    name = {"absolute": str(secret), "upwards": "../id_rsa", "link": "data.bin"}[way]
    folder = build(lambda args: args["flash_files"].update({"0x300000": name}))
    if way == "link":
        (folder / name).symlink_to(secret)

    with pytest.raises(BundleError, match=f"{name}: lies outside of {folder}"):
        load_bundle(folder)


def test_a_file_of_the_project_around_a_build_is_taken(build: Callable[..., Path]) -> None:
    folder = build(lambda args: args["flash_files"].update({"0x300000": "../data.bin"}))
    (folder.parent / "CMakeLists.txt").touch()
    (folder.parent / "data.bin").write_bytes(b"data")

    assert load_bundle(folder).regions[-1].data == b"data"


def test_one_file_named_for_every_sector_does_not_fill_the_memory(
    build: Callable[..., Path],
) -> None:
    every = {hex(0x400000 + 0x1000 * at): "large.bin" for at in range(300)}
    folder = build(lambda args: args["flash_files"].update(every))
    (folder / "large.bin").write_bytes(bytes(1 << 20))

    with pytest.raises(BundleError, match="more than the largest flash holds"):
        load_bundle(folder)
