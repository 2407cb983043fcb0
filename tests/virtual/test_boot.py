from __future__ import annotations

import asyncio
import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.boards.virtual import boot
from rig.boards.virtual.firmware import AppImage
from rig.boards.virtual.flash import NorFlash
from rig.boards.virtual.system import Restart
from rig.errors import FirmwareError

pytestmark = pytest.mark.anyio


class Printed:
    """Boot code's console and UART in one: what was printed."""

    def __init__(self) -> None:
        self.text = ""

    def say(self, text: str) -> None:
        self.text += text + "\n"

    def log(self, level: str, tag: str, text: str) -> None:
        self.say(f"{level} {tag}: {text}")

    def spend(self, seconds: float) -> None:
        assert seconds >= 0

    def write(self, data: bytes) -> None:
        self.text += data.decode()


@pytest.fixture(autouse=True)
def quick_watchdog(monkeypatch):
    monkeypatch.setattr(boot, "WATCHDOG_SECONDS", 0)


@pytest.fixture
def chip(tmp_path, flashed):
    """`chip(at, data)`: the flash of a good board with `data` put at `at`."""
    chips = []

    def make(*changes: tuple[int, bytes]) -> NorFlash:
        path = flashed(tmp_path) / "flash.bin"
        content = bytearray(path.read_bytes())
        for at, data in changes:
            content[at : at + len(data)] = data
        path.write_bytes(content)
        chips.append(NorFlash(path))
        return chips[-1]

    yield make
    for one in chips:
        one.close()


async def run(flash: NorFlash) -> tuple[str, AppImage | int]:
    """What a boot prints, and what it ends in: the application or a reset code."""
    printed = Printed()
    try:
        first = await boot.first_stage(printed, flash, printed)
        booted, _ = await boot.second_stage(printed, flash, first)
    except Restart as restart:
        return printed.text, restart.reset
    return printed.text, booted


async def test_a_sound_flash_boots_the_version_that_was_flashed(chip):
    text, booted = await run(chip())
    assert booted.descriptor.version == "v0.7.0"
    assert "SPIWP:0xee\nmode:DIO, clock div:1\nload:0x3f" in text
    assert "I boot: ESP-IDF v5.5.4 2nd stage bootloader" in text
    assert "I boot:  2 factory          factory app      00 00 00010000 00100000" in text
    assert "I boot: Loaded app from partition at offset 0x10000" in text


async def test_every_line_for_sound_flash_is_one_of_a_chip(chip):
    text, _ = await run(chip())
    assert not [line for line in text.splitlines() if line.startswith("E ")]


async def test_blank_flash_floods_at_the_uarts_rate_until_reset(chip, monkeypatch):
    printed = Printed()
    flood = asyncio.create_task(
        boot.first_stage(printed, chip((0, b"\xff" * 4096)), printed),
    )
    await asyncio.sleep(0)
    assert not flood.done()
    assert set(printed.text.splitlines()) == {"invalid header: 0xffffffff"}
    assert len(printed.text) == pytest.approx(boot.FLOOD_BYTES_PER_SECOND * 0.05, rel=0.02)
    flood.cancel()


async def test_a_bootloader_with_a_wrong_byte_fails_its_checksum(chip):
    good = chip().read(0, 0x100)
    text, code = await run(chip((0x30, bytes([good[0x30] ^ 1]))))
    assert "Checksum failure. Calculated 0x" in text
    assert text.endswith("ets_main.c 333 \n")
    assert code == 0x7


async def test_a_bootloader_with_a_wrong_hash_boots_anyway_and_says_so(chip):
    good = chip().read(0, 0x1000)
    end = next(n for n in range(32, 0x1000, 16) if hashlib.sha256(good[:n]).digest() in good)
    text, booted = await run(chip((end, bytes(32))))
    assert "SHA-256 comparison failed:\nCalculated: " in text
    assert "Attempting to boot anyway...\nentry 0x" in text
    assert booted.descriptor.version == "v0.7.0"


async def test_a_bootloader_with_a_torn_segment_is_no_image(chip):
    text, code = await run(chip((24 + 4, b"\xff\xff\xff\xff")))
    assert "len:0xffffffff\nInvalid image block, can't boot.\nets_main.c 333 \n" in text
    assert code == 0x7


async def test_an_application_at_the_bootloaders_place_hangs_until_the_watchdog(chip):
    app = chip().read(0x10000, 0x14000)
    text, code = await run(chip((0, app[:0x8000])))
    assert code == 0x7
    assert "2nd stage" not in text


APP = 0x10000


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            (APP, b"\xff" * 0x1000),
            "image at 0x10000 has invalid magic byte (nothing flashed here?)",
        ),
        ((APP + 12, b"\0\0"), "boot_comm: mismatch chip ID, expected 5, found 0"),
        ((APP + 28, b"\xff\xff\xff\xff"), "esp_image: invalid segment length 0xffffffff"),
        ((APP + 0x1000, b"\xff\xff"), "esp_image: Checksum failed. Calculated 0x"),
        ((APP + 4, b"\x55"), "esp_image: Image hash failed - image is corrupt"),
        ((APP + 1, b"\x20"), "segment count 32 exceeds max 16"),
    ],
)
async def test_a_bad_application_is_not_booted_and_the_chip_restarts(chip, change, line):
    text, code = await run(chip(change))
    assert f"{line}" in text
    assert "E boot: Factory app partition is not bootable\n" in text
    assert text.endswith("E boot: No bootable app partitions in the partition table\n")
    assert code == 0x3


async def test_a_table_with_a_wrong_md5_is_refused(chip):
    text, code = await run(chip((0x8000 + 12, b"X")))
    assert "E flash_parts: Incorrect MD5 checksum\n" in text
    assert text.endswith("E boot: load partition table error!\n")
    assert code == 0x3


async def test_a_blank_table_has_nothing_to_boot(chip):
    text, code = await run(chip((0x8000, b"\xff" * 0x1000)))
    assert "I boot: End of partition table\nE boot: No bootable app partitions" in text
    assert code == 0x3


async def test_a_partition_beyond_the_flash_is_refused(chip):
    entry = struct.pack("<HBBII16sI", 0x50AA, 0, 0, 0x3F0000, 0x20000, b"factory", 0)
    text, _ = await run(chip((0x8000, entry + b"\xff" * 0x60)))
    assert "partition 0 invalid - offset 0x3f0000 size 0x20000 exceeds flash" in text


async def test_a_partition_at_the_very_end_of_the_flash_is_not_bootable(chip):
    entry = struct.pack("<HBBII16sI", 0x50AA, 0, 0, 0x400000, 0, b"factory", 0)
    text, code = await run(chip((0x8000, entry + b"\xff" * 0x60)))
    assert "E esp_image: 0x400000+0x18 is beyond" in text
    assert code == 0x3


async def test_a_table_without_an_end_is_refused(chip):
    entry = struct.pack("<HBBII16sI", 0x50AA, 1, 2, 0x9000, 0x1000, b"nvs", 0)
    text, _ = await run(chip((0x8000, entry * 96)))
    assert "partition table has no terminating entry, not valid" in text


@given(st.binary(min_size=1, max_size=64), st.integers(1, 0x22000))
@settings(deadline=None, max_examples=25)
def test_no_content_of_the_flash_breaks_the_boot_code(tmp_path_factory, content, noise, at):
    path = tmp_path_factory.getbasetemp() / "boot-fuzz.bin"
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])
    with NorFlash(path) as flash:
        try:
            text, ended = asyncio.run(run(flash))
        except FirmwareError:
            return
    assert ended in (0x3, 0x7) or ended.descriptor
    assert text


@pytest.fixture(scope="module")
def content():
    from pathlib import Path

    folder = Path(__file__).parents[2] / "fixtures" / "firmware" / "v0.7.0"
    flash = bytearray(b"\xff" * 0x400000)
    for at, name in ((0, "bootloader/bootloader.bin"), (0x10000, "sendspin-speaker.bin")):
        data = (folder / name).read_bytes()
        flash[at : at + len(data)] = data
    table = (folder / "partition_table/partition-table.bin").read_bytes()
    flash[0x8000 : 0x8000 + len(table)] = table
    return bytes(flash)
