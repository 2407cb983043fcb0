"""The whole virtual board under the flasher: its process, its reset, its supply."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from firmware_flasher.bundle import Bundle
from firmware_flasher.errors import PortVanished
from firmware_flasher.flasher import flash, verify_flash
from firmware_flasher.loading import load_bundle
from firmware_flasher.messages import Event, Retrying, Writing
from rig.boards.virtual.board import VirtualBoard, VirtualSettings

FIXTURES = Path(__file__).parents[2] / "fixtures" / "firmware"
pytestmark = pytest.mark.anyio


@pytest.fixture
def bundle(build: Callable[..., Path], firmware: Any) -> Bundle:
    """Large and incompressible: writing it takes long enough to cut into."""
    filling = random.Random(2).randbytes(1_000_000)
    return load_bundle(build(files={"speaker.bin": firmware.app(filling=filling)}))


@pytest.fixture
async def plugged(tmp_path: Path) -> AsyncIterator[VirtualBoard]:
    board = VirtualBoard("virtual", VirtualSettings(home=tmp_path / "home", namespace=False))
    async with board:
        try:
            yield board
        finally:
            await board.unplug()


async def test_every_committed_firmware_is_flashed_and_verified(plugged: VirtualBoard) -> None:
    port = plugged.flash_port
    assert port is not None
    for version in ("v0.5.0", "pr57", "v0.6.1", "v0.7.0"):
        bundle = load_bundle(FIXTURES / version)

        result = await flash(bundle, port, reset=plugged.reset)

        assert result.verified == len(bundle.regions)
        assert bundle.app is not None
        assert bundle.app.version == version
        assert bundle.elf is not None
    assert await verify_flash(bundle, port, reset=plugged.reset) == len(bundle.regions)


async def test_a_power_cut_while_writing_is_mended_by_the_next_attempt(
    plugged: VirtualBoard, bundle: Bundle, hasty_esptool: None
) -> None:
    events: list[Event] = []
    cuts: list[asyncio.Task[Any]] = []

    async def cut() -> None:
        await plugged.power(False)
        await plugged.power(True)

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, Writing) and event.region == event.regions and not cuts:
            cuts.append(asyncio.get_running_loop().create_task(cut()))

    port = plugged.flash_port
    assert port is not None
    result = await flash(bundle, port, on_event=watch, reset=plugged.reset)

    await asyncio.gather(*cuts)
    assert result.verified == len(bundle.regions)
    assert result.retries == sum(isinstance(event, Retrying) for event in events) == 1


async def test_a_board_unplugged_while_writing_is_one_clear_error(
    plugged: VirtualBoard, bundle: Bundle
) -> None:
    unplugged: list[asyncio.Task[Any]] = []

    def watch(event: Event) -> None:
        if isinstance(event, Writing) and event.region == event.regions and not unplugged:
            unplugged.append(asyncio.get_running_loop().create_task(plugged.unplug()))

    port = plugged.flash_port
    assert port is not None
    with pytest.raises(PortVanished, match="went away while"):
        await flash(bundle, port, on_event=watch, reset=plugged.reset)
    await asyncio.gather(*unplugged)
