from __future__ import annotations

import asyncio

import pytest

from rig.boards.virtual.flash import JEDEC_ID, SECTOR, SIZE, FlashError, NorFlash
from rig.errors import BoardError

pytestmark = pytest.mark.anyio


@pytest.fixture
def flash(tmp_path):
    with NorFlash(tmp_path / "flash.bin") as chip:
        yield chip


async def test_a_new_chip_is_blank(flash):
    assert flash.read(0, SIZE) == b"\xff" * SIZE


async def test_programming_only_clears_bits(flash):
    await flash.program(100, b"\x0f\xff")
    await flash.program(100, b"\xf1\x55")
    assert flash.read(100, 2) == b"\x01\x55"


async def test_erasing_takes_every_sector_the_region_touches_and_no_other(flash):
    await flash.program(0, b"\0" * SECTOR * 4)
    await flash.erase(SECTOR + 1, SECTOR)
    expected = b"\0" * SECTOR + b"\xff" * SECTOR * 2 + b"\0" * SECTOR
    assert flash.read(0, SECTOR * 4) == expected


@pytest.mark.parametrize("turns", range(4))
async def test_a_cut_tears_the_write_where_it_stood(flash, turns):
    old, new = b"\xff" * SECTOR * 2, bytes(range(256)) * 32
    write = asyncio.create_task(flash.program(0, new))
    for _ in range(turns):
        await asyncio.sleep(0)
    write.cancel()
    await asyncio.gather(write, return_exceptions=True)
    found = flash.read(0, len(new))
    torn_at = next((n for n, (a, b) in enumerate(zip(found, new, strict=True)) if a != b), len(new))
    assert found[torn_at:] == old[torn_at:]
    assert (torn_at == len(new)) == (turns > 2)


async def test_a_cut_tears_an_erase_where_it_stood(flash):
    await flash.program(0, b"\0" * SECTOR)
    erase = asyncio.create_task(flash.erase(0, SECTOR))
    await asyncio.sleep(0)
    erase.cancel()
    await asyncio.gather(erase, return_exceptions=True)
    assert flash.read(0, SECTOR).lstrip(b"\xff").strip(b"\0") == b""


async def test_the_content_outlives_the_chip_object(tmp_path):
    with NorFlash(tmp_path / "flash.bin") as first:
        await first.program(5, b"kept")
    with NorFlash(tmp_path / "flash.bin") as second:
        assert second.read(5, 4) == b"kept"


@pytest.mark.parametrize(("at", "size"), [(SIZE, 1), (SIZE - 1, 2), (-1, 1), (0, SIZE + 1)])
async def test_beyond_the_end_there_is_nothing(flash, at, size):
    with pytest.raises(FlashError):
        flash.read(at, size)
    with pytest.raises(FlashError):
        await flash.erase(at, size)


async def test_it_answers_with_its_jedec_id_and_leaves_the_line_high_else(flash):
    assert flash.command(0x9F, 0, 3, b"") == JEDEC_ID
    assert flash.command(0x4B, 0, 4, b"") == b"\xff" * 4


async def test_the_write_enable_latch_shows_in_the_status_register(flash):
    flash.command(0x06, 0, 0, b"")
    assert flash.command(0x05, 0, 1, b"") == b"\x02"
    flash.command(0x04, 0, 0, b"")
    assert flash.command(0x05, 0, 1, b"") == b"\0"


def test_a_file_of_another_size_is_refused_by_name(tmp_path):
    (tmp_path / "flash.bin").write_bytes(b"short")
    with pytest.raises(BoardError, match=r"flash\.bin.*4194304 bytes expected, 5 found"):
        NorFlash(tmp_path / "flash.bin")


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BoardError, match="Not a directory"):
        NorFlash(tmp_path / "file" / "flash.bin")
