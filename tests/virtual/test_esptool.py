"""Unmodified esptool against the board's serial port, as a user runs it."""

from __future__ import annotations

import asyncio
import os
import re
import sys

import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def esptool(board):
    """Runs esptool on the board, which is in download mode; its output."""
    await board.reset(download=True)

    async def run(*arguments: str, fails: bool = False, stay: str = "no-reset-stub") -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "esptool", "--port", str(board.home / "uart")),
            *("--before", "no-reset", "--after", stay, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
        assert (process.returncode != 0) is fails, output
        return output

    return run


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "random.bin"
    path.write_bytes(os.urandom(70_001))
    return path


async def test_one_call_after_another_finds_the_chip_its_flash_and_its_mac(esptool, board):
    mac = (await board.status())["mac"]
    assert "ESP32-C3 (QFN32) (revision v0.4)" in await esptool("chip-id")
    second = await esptool("flash-id")
    assert "Stub flasher is already running" in second
    assert re.search(r"Manufacturer: c8\nDevice: 4016\nDetected flash size: 4MB", second)
    assert mac in await esptool("--no-stub", "read-mac")


async def test_random_bytes_come_back_as_they_were_written(esptool, data, tmp_path):
    back = tmp_path / "back.bin"
    written = await esptool("-b", "921600", "write-flash", "0x123000", str(data))
    assert "Hash of data verified" in written
    assert "digest matched" in await esptool("verify-flash", "0x123000", str(data))
    await esptool("-b", "460800", "read-flash", "0x123000", "70001", str(back))
    assert back.read_bytes() == data.read_bytes()


async def test_without_the_stub_it_writes_compressed_and_raw(esptool, data, tmp_path):
    small, back = tmp_path / "small.bin", tmp_path / "back.bin"
    small.write_bytes(b"compressible " * 500 + data.read_bytes()[:500])
    arguments = ("--no-stub", "write-flash", "--flash-size", "4MB")
    assert "Hash of data verified" in await esptool(*arguments, "0x10000", str(small))
    assert "Hash of data verified" in await esptool(*arguments, "-u", "0x20010", str(small))
    await esptool("--no-stub", "read-flash", "--flash-size", "4MB", "0x20010", "300", str(back))
    assert back.read_bytes() == small.read_bytes()[:300]


async def test_erasing_leaves_the_whole_chip_blank(esptool, data, board):
    await esptool("write-flash", "0x1000", str(data))
    await esptool("erase-region", "0x1000", "0x1000")
    assert (board.home / "flash.bin").read_bytes()[0x1000:0x2000] == b"\xff" * 0x1000
    await esptool("erase-flash")
    assert (board.home / "flash.bin").read_bytes() == b"\xff" * 0x400000


async def test_after_no_reset_the_rom_answers_again_not_the_stub(esptool):
    await esptool("chip-id", stay="no-reset")
    assert "Uploading stub flasher" in await esptool("flash-id")


async def test_a_watchdog_reset_boots_from_flash(esptool, board, port):
    await esptool("chip-id", stay="watchdog-reset")
    assert (await board.status())["state"] == "boot"


async def test_a_board_that_is_not_in_download_mode_gives_no_answer(esptool, board):
    await board.reset()
    assert "Failed to connect" in await esptool("--connect-attempts", "1", "chip-id", fails=True)


@pytest.mark.long
async def test_four_mebibytes_of_random_bytes_come_back(esptool, tmp_path):
    whole, back = tmp_path / "whole.bin", tmp_path / "back.bin"
    whole.write_bytes(os.urandom(0x400000))
    await esptool("-b", "921600", "write-flash", "0", str(whole))
    await esptool("-b", "921600", "read-flash", "0", "0x400000", str(back))
    assert back.read_bytes() == whole.read_bytes()
