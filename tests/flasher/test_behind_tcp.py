"""Over `socket://` with resets by the board's owner: other chips, other sizes of flash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firmware_flasher import errors
from firmware_flasher.flasher import chip_info, erase_flash, flash, read_flash
from firmware_flasher.loading import load_bundle
from firmware_flasher.messages import Event, Log
from firmware_flasher.port import SerialPort
from tests.flasher.rom_behind_tcp import Odd, RomBehindTcp

pytestmark = pytest.mark.anyio
MIB = 1 << 20
Build = Callable[..., Path]


def port_of(rom: RomBehindTcp) -> SerialPort:
    return SerialPort(rom.url, before="no-reset", after="no-reset")


@pytest.mark.parametrize(
    ("chip", "size"),
    [("esp32", 2), ("esp32", 16), ("esp32c3", 2), ("esp32c3", 8)],
)
async def test_a_chip_behind_tcp_is_flashed_whatever_it_is(
    tmp_path: Path, build: Build, chip: str, size: int
) -> None:
    esp32 = chip == "esp32"

    def smaller(args: dict[str, object]) -> None:
        args["flash_settings"] = {"flash_mode": "dio", "flash_size": "2MB", "flash_freq": "40m"}

    bundle = load_bundle(
        build(smaller, chip=chip, chip_id=0 if esp32 else 5, bootloader=0x1000 if esp32 else 0)
    )
    with RomBehindTcp(tmp_path / "flash.bin", size * MIB, esp32=esp32).alive() as rom:
        result = await flash(bundle, port_of(rom), reset=rom.reset, memory=tmp_path / "memory")
        again = await flash(bundle, port_of(rom), reset=rom.reset, memory=tmp_path / "memory")

        content = rom.flash.read_bytes()
    for region in bundle.regions[1:]:
        assert content[region.offset : region.end] == region.data
    assert (result.verified, result.chip.chip, result.chip.flash_size) == (3, chip, size * MIB)
    assert (again.skipped, again.sent) == (3, 0)
    assert rom.downloads == 2


async def test_an_esp32_is_read_and_erased_behind_tcp(tmp_path: Path) -> None:
    (tmp_path / "flash.bin").write_bytes(bytes(range(256)) * (2 * MIB // 256))
    with RomBehindTcp(tmp_path / "flash.bin", 2 * MIB, esp32=True).alive() as rom:
        info = await chip_info(port_of(rom), reset=rom.reset)
        data = await read_flash(port_of(rom), size=0x3000, offset=0x1000, reset=rom.reset)
        await erase_flash(port_of(rom), offset=0x1000, size=0x1000, reset=rom.reset)

    assert (info.chip, info.mac, info.revision) == ("esp32", "24:0a:c4:a1:b2:c3", "v3.0")
    assert data == bytes(range(256)) * 0x30
    assert (tmp_path / "flash.bin").read_bytes()[0x1000:0x2001] == b"\xff" * 0x1000 + b"\0"


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(Odd(stub="refused", blank=True, flash_id=False, away=0.3), id="refused"),
        pytest.param(Odd(stub="hangs"), id="hangs", marks=pytest.mark.long),  # twice for 3 s
    ],
)
async def test_an_emulator_that_runs_no_stub_is_flashed_by_the_rom_alone(
    tmp_path: Path, build: Build, odd: Odd
) -> None:
    bundle = load_bundle(build(chip="esp32", chip_id=0, bootloader=0x1000))
    heard: list[Event] = []
    with RomBehindTcp(tmp_path / "flash.bin", 4 * MIB, esp32=True, odd=odd).alive() as rom:
        result = await flash(
            bundle, port_of(rom), reset=rom.reset, memory=tmp_path / "memory", on_event=heard.append
        )
        attempts = rom.downloads

        plain = replace(port_of(rom), stub=False)
        again = await flash(bundle, plain, reset=rom.reset, memory=tmp_path / "memory")
        table = await read_flash(plain, offset=0x8000, size=0x40, reset=rom.reset)
        await erase_flash(plain, offset=0x8000, size=0x1000, reset=rom.reset)

        once_each = rom.downloads - attempts
        content = rom.flash.read_bytes()
    assert (result.verified, again.skipped, again.sent) == (3, 3, 0)
    assert any("the stub loader does not start" in e.text for e in heard if isinstance(e, Log))
    assert attempts == (2 if odd.stub == "refused" else 3)
    assert once_each == 3
    assert table == next(r.data[:0x40] for r in bundle.regions if r.offset == 0x8000)
    assert content[0x8000:0x9000] == b"\xff" * 0x1000
    assert content[0x10000 : bundle.regions[-1].end] == bundle.regions[-1].data
    # A MAC of zeros is none: two emulated boards are not taken for one.
    assert (result.chip.mac == "") is odd.blank
    assert (tmp_path / "memory").exists() is not odd.blank


async def test_a_bundle_for_more_flash_than_there_is_touches_nothing(
    tmp_path: Path, build: Build, firmware: Any
) -> None:
    def large(args: dict[str, object]) -> None:
        args["flash_settings"] = {"flash_mode": "dio", "flash_size": "4MB", "flash_freq": "80m"}

    table = [("nvs", 1, 2, 0x9000, 0x6000), ("factory", 0, 0, 0x10000, 0x300000)]
    bundle = load_bundle(build(large, files={"partition-table.bin": firmware.table(*table)}))
    with (
        RomBehindTcp(tmp_path / "flash.bin", 2 * MIB, esp32=False).alive() as rom,
        pytest.raises(errors.ImageTooLarge, match="0x310000, but this board has 0x200000 bytes"),
    ):
        await flash(bundle, port_of(rom), reset=rom.reset)

    assert (tmp_path / "flash.bin").read_bytes().strip(b"\xff") == b""


async def test_a_bundle_for_another_chip_touches_nothing(tmp_path: Path, build: Build) -> None:
    bundle = load_bundle(build())
    with (
        RomBehindTcp(tmp_path / "flash.bin", 4 * MIB, esp32=True).alive() as rom,
        pytest.raises(errors.WrongChip, match=r"the board on the port is an ESP32 .*expected an"),
    ):
        await flash(bundle, port_of(rom), reset=rom.reset)

    assert (tmp_path / "flash.bin").read_bytes().strip(b"\xff") == b""
