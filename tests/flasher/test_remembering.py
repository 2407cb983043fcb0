"""The flasher with a memory, on a real pty: sectors that changed, flashes that were interrupted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firmware_flasher import errors
from firmware_flasher.flasher import erase_flash, flash
from firmware_flasher.loading import load_bundle
from firmware_flasher.messages import Event, Interrupted, Writing
from firmware_flasher.port import SerialPort

pytestmark = pytest.mark.anyio
Build = Callable[..., Path]
CODE = random.Random(3).randbytes(200_000)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def port_of(board: Any) -> SerialPort:
    return SerialPort(board.path, before="no-reset", after="no-reset")


def torn(memory: Path) -> Any:
    return json.loads(next(memory.glob("*.json")).read_bytes())["torn"]


def written_at(memory: Path) -> int:
    return next(memory.glob("*.json")).stat().st_mtime_ns


async def test_only_the_sectors_that_changed_are_written(
    board: Any, build: Build, firmware: Any, memory: Path
) -> None:
    old, new = CODE, CODE[:100_000] + b"!" + CODE[100_001:]
    first = load_bundle(build(files={"speaker.bin": firmware.app(filling=old)}))
    second = load_bundle(build(name="b", files={"speaker.bin": firmware.app(filling=new)}))
    await flash(first, port_of(board), memory=memory)

    result = await flash(second, port_of(board), memory=memory)

    app = second.regions[-1]
    assert board.flash.read_bytes()[app.offset : app.end] == app.data
    assert result.verified == 3
    # The byte's own sector, and the checksum and SHA-256 at the end of the image.
    assert 4096 <= result.sent <= 3 * 4096


async def test_where_the_flash_is_not_as_remembered_all_of_it_is_written(
    board: Any, build: Build, firmware: Any, memory: Path
) -> None:
    first = load_bundle(build(files={"speaker.bin": firmware.app(filling=CODE)}))
    second = load_bundle(build(name="b", files={"speaker.bin": firmware.app(filling=CODE + b"!")}))
    await flash(first, port_of(board), memory=memory)
    await erase_flash(port_of(board), offset=0x20000, size=0x1000)  # by somebody else: no memory

    result = await flash(second, port_of(board), memory=memory)

    app = second.regions[-1]
    assert board.flash.read_bytes()[app.offset : app.end] == app.data
    assert (result.verified, result.written) == (3, 1)


async def test_a_flash_that_broke_off_is_known_and_redone_in_full(
    board: Any, build: Build, firmware: Any, memory: Path, hasty_esptool: None
) -> None:
    bundle = load_bundle(build(files={"speaker.bin": firmware.app(filling=CODE)}))
    board.wire.silent_after = 180_000  # in the middle of the application
    with pytest.raises(errors.FlashError):
        await flash(bundle, port_of(board), memory=memory, connect_attempts=1)
    assert torn(memory)
    board.wire.silent_after = None
    await board.reset(download=True)
    events: list[Event] = []

    result = await flash(bundle, port_of(board), on_event=events.append, memory=memory)

    told = [event for event in events if isinstance(event, Interrupted)]
    assert [event.label for event in told] == ["speaker v1.2.3"]
    # Also the loader and the table, which the chip's MD5 would have called unchanged.
    assert (result.written, result.skipped, result.verified) == (3, 0, 3)
    assert torn(memory) == []


async def test_an_unchanged_flash_is_not_begun_at_all(
    board: Any, build: Build, memory: Path
) -> None:
    bundle = load_bundle(build())
    await flash(bundle, port_of(board), memory=memory)
    before = written_at(memory)
    events: list[Event] = []

    result = await flash(bundle, port_of(board), on_event=events.append, memory=memory)

    assert (result.skipped, result.sent) == (3, 0)
    assert not any(isinstance(event, Writing) for event in events)
    assert written_at(memory) == before


async def test_what_was_erased_is_written_anew(board: Any, build: Build, memory: Path) -> None:
    bundle = load_bundle(build())
    await flash(bundle, port_of(board), memory=memory)
    await erase_flash(port_of(board), memory=memory)

    result = await flash(bundle, port_of(board), memory=memory)

    assert (result.written, result.verified) == (3, 3)
    assert torn(memory) == []


async def test_a_memory_that_cannot_be_written_costs_no_flash(
    board: Any, build: Build, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    events: list[Event] = []

    result = await flash(
        load_bundle(build()), port_of(board), on_event=events.append, memory=tmp_path / "file"
    )

    assert result.verified == 3
    assert any(getattr(event, "level", "") == "warning" for event in events)


async def test_of_a_merged_image_only_what_the_device_changed_is_written(
    board: Any, firmware: Any, tmp_path: Path, memory: Path
) -> None:
    image = tmp_path / "merged.bin"
    image.write_bytes(firmware.merged() + CODE)
    bundle = load_bundle(image)
    await flash(bundle, port_of(board), memory=memory)
    with board.flash.open("r+b") as chip:  # the device keeps something in its NVS
        chip.seek(0x9000)
        chip.write(b"\0\0\0\0")

    result = await flash(bundle, port_of(board), memory=memory)

    assert board.flash.read_bytes()[: len(image.read_bytes())] == image.read_bytes()
    assert (result.written, result.sent) == (1, 0x6000)


async def test_a_board_that_fell_silent_is_switched_off_and_on_before_the_next_attempt(
    board: Any, build: Build, firmware: Any, memory: Path, hasty_esptool: None
) -> None:
    bundle = load_bundle(build(files={"speaker.bin": firmware.app(filling=CODE)}))
    board.wire.silent_after = 180_000
    told: list[str] = []

    async def power_cycle() -> None:
        told.append("power")
        board.wire.silent_after = None

    async def reset(*, download: bool = False) -> None:
        told.append("download" if download else "run")
        if download:
            await board.reset(download=True)

    result = await flash(
        bundle, port_of(board), reset=reset, power_cycle=power_cycle, memory=memory
    )

    assert told == ["download", "power", "download", "run"]
    assert (result.retries, result.verified) == (1, 3)
    assert torn(memory) == []
