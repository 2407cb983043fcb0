"""Real esptool on a real pty, against the ROM of the virtual board: what works, what breaks."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from firmware_flasher import errors
from firmware_flasher.bundle import Bundle
from firmware_flasher.flasher import (
    chip_info,
    erase_flash,
    flash,
    read_flash,
    verify_flash,
)
from firmware_flasher.loading import load_bundle
from firmware_flasher.messages import (
    ChipFound,
    Connecting,
    Erasing,
    Event,
    Resetting,
    Retrying,
    Skipped,
    StubRunning,
    Verified,
    Writing,
)
from firmware_flasher.port import SerialPort, holders

pytestmark = pytest.mark.anyio


@pytest.fixture
def bundle(build: Callable[..., Path]) -> Bundle:
    return load_bundle(build())


def port_of(board: Any, **changes: Any) -> SerialPort:
    return SerialPort(board.path, **{"before": "no-reset", "after": "no-reset", **changes})


def kinds(events: list[Event]) -> list[type]:
    """The kinds of events, repeats of `Writing` as one, esptool's words left out."""
    found = [type(event) for event in events if type(event).__name__ not in ("Log", "Comparing")]
    return [kind for n, kind in enumerate(found) if n == 0 or found[n - 1] is not kind]


@pytest.fixture
def silent() -> Iterator[str]:
    """A port on which nobody answers."""
    master, slave = pty.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


# What works


async def test_a_flashed_board_holds_every_byte(board: Any, bundle: Bundle) -> None:
    result = await flash(bundle, port_of(board))

    content = board.flash.read_bytes()
    for region in bundle.regions[1:]:
        assert content[region.offset : region.end] == region.data
    assert (result.written, result.skipped, result.verified) == (3, 0, 3)
    assert (result.chip.chip, result.chip.mac) == ("esp32c3", "f4:12:40:a1:b2:c3")
    assert result.digest == bundle.digest


async def test_flashing_tells_its_steps_in_order(board: Any, bundle: Bundle) -> None:
    events: list[Event] = []

    await flash(bundle, port_of(board), on_event=events.append)

    steps = [Connecting, ChipFound, StubRunning]
    assert [kind for kind in kinds(events) if kind.__name__ != "Verifying"] == steps + 3 * [
        Writing,
        Verified,
    ]
    last = [event for event in events if isinstance(event, Writing)][-1]
    assert (last.region, last.regions, last.done) == (3, 3, last.size)


async def test_what_is_there_already_is_left_alone(board: Any, bundle: Bundle) -> None:
    await flash(bundle, port_of(board))
    events: list[Event] = []

    result = await flash(bundle, port_of(board), on_event=events.append)

    assert (result.written, result.skipped, result.verified) == (0, 3, 3)
    assert not any(isinstance(event, Writing) for event in events)
    assert sum(isinstance(event, Skipped) for event in events) == 3


async def test_only_a_changed_region_is_written(
    board: Any, bundle: Bundle, build: Callable[..., Path], firmware: Any
) -> None:
    await flash(bundle, port_of(board))
    other = load_bundle(build(name="b", files={"speaker.bin": firmware.app(version="v2")}))

    result = await flash(other, port_of(board))

    assert (result.written, result.skipped) == (1, 2)


async def test_a_board_is_flashed_without_the_stub(board: Any, bundle: Bundle) -> None:
    events: list[Event] = []

    result = await flash(bundle, port_of(board), stub=False, on_event=events.append)

    assert result.verified == 3
    assert StubRunning not in kinds(events)
    assert Erasing in kinds(events)
    app = bundle.regions[-1]
    assert board.flash.read_bytes()[app.offset : app.end] == app.data


async def test_a_stub_that_was_left_running_is_used_again(board: Any, bundle: Bundle) -> None:
    first = await flash(bundle, port_of(board, after="no-reset-stub"))

    second = await flash(bundle, port_of(board), skip_unchanged=False)

    assert not first.chip.stub_was_running
    assert second.chip.stub_was_running
    assert second.verified == 3


async def test_flash_is_read_back_byte_for_byte(board: Any, bundle: Bundle, tmp_path: Path) -> None:
    content = os.urandom(0x20000)
    await flash(bundle, port_of(board))
    with board.flash.open("r+b") as file:
        file.seek(0x200000)
        file.write(content)

    data = await read_flash(port_of(board), tmp_path / "dump", offset=0x200000, size=len(content))

    assert data == content
    assert (tmp_path / "dump").read_bytes() == content


async def test_a_region_is_erased_and_nothing_else(board: Any, bundle: Bundle) -> None:
    await flash(bundle, port_of(board))
    before = board.flash.read_bytes()

    await erase_flash(port_of(board), offset=0x8000, size=0x1000)

    after = board.flash.read_bytes()
    assert after[0x8000:0x9000] == b"\xff" * 0x1000
    assert after[:0x8000] + after[0x9000:] == before[:0x8000] + before[0x9000:]


async def test_all_of_the_flash_is_erased(board: Any, bundle: Bundle) -> None:
    await flash(bundle, port_of(board))

    await erase_flash(port_of(board))

    assert board.flash.read_bytes().count(0xFF) == 4 * 1024 * 1024


async def test_a_chip_says_who_it_is(board: Any) -> None:
    info = await chip_info(port_of(board))

    assert (info.chip, info.revision, info.flash_size) == ("esp32c3", "v0.4", 4 * 1024 * 1024)


async def test_a_verified_board_passes_and_a_changed_byte_is_located(
    board: Any, bundle: Bundle
) -> None:
    await flash(bundle, port_of(board))
    assert await verify_flash(bundle, port_of(board)) == 3
    with board.flash.open("r+b") as file:
        file.seek(0x11000)
        file.write(b"\0\0\0\0")

    with pytest.raises(errors.VerifyMismatch, match=r"speaker\.bin at 0x10000") as caught:
        await verify_flash(bundle, port_of(board))
    assert "partition-table" not in caught.value.message


async def test_the_owner_resets_the_board_before_and_after(board: Any, bundle: Bundle) -> None:
    asked: list[bool] = []
    events: list[Event] = []

    async def reset(*, download: bool = False) -> None:
        asked.append(download)
        await board.reset(download=download)

    await flash(bundle, port_of(board), reset=reset, on_event=events.append)

    assert asked == [True, False]
    assert [event.download for event in events if isinstance(event, Resetting)] == asked


async def test_a_board_behind_a_socket_is_flashed_the_same(board: Any, bundle: Bundle) -> None:
    async def bridge(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        port = os.open(board.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(port)
        loop = asyncio.get_running_loop()
        loop.add_reader(port, lambda: answers.write(os.read(port, 65_536)))
        while data := await client.read(1024):
            os.write(port, data)
        loop.remove_reader(port)
        os.close(port)
        answers.close()

    server = await asyncio.start_server(bridge, "127.0.0.1", 0)
    async with server:
        host, number = server.sockets[0].getsockname()
        port = SerialPort(f"socket://{host}:{number}", before="no-reset", after="no-reset")

        result = await flash(bundle, port, reset=board.reset)

    assert result.verified == 3


# Bad links


async def test_a_bad_cable_is_flashed_over_at_a_lower_rate(
    board: Any, bundle: Bundle, hasty_esptool: None
) -> None:
    board.wire.clean_up_to = 460_800
    events: list[Event] = []

    result = await flash(bundle, port_of(board), on_event=events.append, reset=board.reset)

    assert (result.verified, result.baud, result.retries) == (3, 460_800, 1)
    assert [event.baud for event in events if isinstance(event, Retrying)] == [460_800]


async def test_a_link_that_breaks_at_every_rate_ends_in_one_error(
    board: Any, bundle: Bundle, hasty_esptool: None
) -> None:
    board.wire.clean_up_to = 0

    with pytest.raises(errors.BrokenLink, match="the board answers, but broken"):
        await flash(bundle, port_of(board), connect_attempts=1, reset=board.reset)


async def test_a_port_that_vanishes_in_the_middle_says_so(board: Any, bundle: Bundle) -> None:
    board.wire.vanish_after = 20_000

    with pytest.raises(errors.PortVanished, match="went away while"):
        await flash(bundle, port_of(board))


async def test_a_board_that_falls_silent_in_the_middle_ends_in_one_error(
    board: Any, bundle: Bundle, hasty_esptool: None
) -> None:
    board.wire.silent_after = 20_000
    events: list[Event] = []

    with pytest.raises(errors.SilentBoard, match="nothing answers"):
        await flash(bundle, port_of(board), on_event=events.append, connect_attempts=1)

    assert any(isinstance(event, Retrying) for event in events)


# Wrong boards and ports


async def test_a_bundle_for_another_chip_is_not_written(
    board: Any, build: Callable[..., Path]
) -> None:
    bundle = load_bundle(build(chip="esp32", chip_id=0, bootloader=0x1000))

    with pytest.raises(errors.WrongChip, match=r"ESP32-C3 \(MAC f4:12:40:a1:b2:c3\)"):
        await flash(bundle, port_of(board))
    assert board.flash.read_bytes().count(0xFF) == 4 * 1024 * 1024


async def test_another_board_than_the_one_with_this_mac_is_not_written(
    board: Any, bundle: Bundle
) -> None:
    port = port_of(board, mac="f4:12:40:00:00:01")

    with pytest.raises(
        errors.WrongBoard, match=r"has MAC f4:12:40:a1:b2:c3, not f4:12:40:00:00:01"
    ):
        await flash(bundle, port)
    assert board.flash.read_bytes().count(0xFF) == 4 * 1024 * 1024
    result = await flash(bundle, port_of(board, mac="f4:12:40:a1:b2:c3"))
    assert result.verified == result.regions


async def test_a_bundle_for_another_chip_than_the_ports_is_refused_unseen(bundle: Bundle) -> None:
    with pytest.raises(errors.WrongChip, match="built for ESP32-C3"):
        await flash(bundle, SerialPort("/dev/nowhere", chip="esp32s3"))


async def test_a_bundle_larger_than_the_boards_flash_is_not_written(
    board: Any, build: Callable[..., Path]
) -> None:
    def eight(args: dict[str, Any]) -> None:
        args["flash_settings"]["flash_size"] = "8MB"
        args["flash_files"]["0x500000"] = args["flash_files"].pop("0x10000")

    bundle = load_bundle(build(eight))

    with pytest.raises(errors.ImageTooLarge, match=r"speaker\.bin.*0x400000 bytes of flash"):
        await flash(bundle, port_of(board))
    assert board.flash.read_bytes().count(0xFF) == 4 * 1024 * 1024


async def test_a_silent_board_is_said_to_be_silent(silent: str) -> None:
    with pytest.raises(errors.SilentBoard, match="nothing answers"):
        await chip_info(SerialPort(silent, before="no-reset"), connect_attempts=1)


def test_a_busy_port_names_its_holder(silent: str) -> None:
    held = (
        "import serial, sys; port = serial.Serial(sys.argv[1], exclusive=True);"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, silent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"

        with pytest.raises(errors.PortBusy, match=f"pid {process.pid}"):
            anyio.run(chip_info, SerialPort(silent, before="no-reset"))
        process.communicate()


async def test_nobody_listening_at_an_address_is_said() -> None:
    with pytest.raises(errors.PortMissing, match="nobody listens there"):
        await chip_info(SerialPort("socket://127.0.0.1:1", before="no-reset"))


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(errors.PortError):
        await chip_info(SerialPort("socket://nonsense", before="no-reset"))


async def test_a_folder_that_is_not_there_is_known_before_the_board_is_touched(
    tmp_path: Path,
) -> None:
    with pytest.raises(errors.OutputError, match="there is no folder"):
        await read_flash(SerialPort("/dev/nowhere-at-all"), tmp_path / "no" / "dump.bin")


@pytest.mark.parametrize(("offset", "size"), [(1, 4096), (0, 5), (0, 0), (-4096, 4096)])
async def test_erasing_half_a_sector_is_refused(offset: int, size: int) -> None:
    with pytest.raises(errors.UsageError, match="expected a multiple of 0x1000"):
        await erase_flash(SerialPort("/dev/null"), offset=offset, size=size)


async def test_reading_beyond_the_flash_is_refused(board: Any) -> None:
    with pytest.raises(errors.ImageTooLarge, match="not inside 0x400000 bytes"):
        await read_flash(port_of(board), offset=0x3FF000, size=0x2000)


# Ending early


async def test_cancelling_leaves_no_process_on_the_port(board: Any, bundle: Bundle) -> None:
    with anyio.CancelScope() as scope:

        def stop_when_writing(event: Event) -> None:
            if isinstance(event, Writing):
                scope.cancel()

        await flash(bundle, port_of(board), on_event=stop_when_writing)

    assert scope.cancelled_caught
    assert holders(board.path) == ()


async def test_after_a_cancelled_flash_the_next_one_just_works(board: Any, bundle: Bundle) -> None:
    with anyio.CancelScope() as scope:

        def stop_at_the_last_region(event: Event) -> None:
            if isinstance(event, Writing) and event.region == event.regions:
                scope.cancel()

        await flash(bundle, port_of(board), on_event=stop_at_the_last_region)

    assert (await flash(bundle, port_of(board), reset=board.reset)).verified == 3


async def test_a_deadline_ends_the_operation_and_its_process(silent: str) -> None:
    started = time.monotonic()

    with pytest.raises(errors.FlashTimeout, match="not done after 1 s"):
        await chip_info(SerialPort(silent, before="no-reset"), connect_attempts=100, deadline=1)

    assert time.monotonic() - started < 20
    assert holders(silent) == ()


async def test_an_on_event_that_raises_ends_the_worker(board: Any, bundle: Bundle) -> None:
    def broken(event: Event) -> None:
        raise KeyError("a bug of the caller")

    with pytest.raises(KeyError):
        await flash(bundle, port_of(board), on_event=broken)
    assert holders(board.path) == ()


async def test_a_killed_worker_is_one_clear_error(board: Any, bundle: Bundle) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, StubRunning):
            for holder in holders(board.path):
                os.kill(holder.pid, signal.SIGKILL)

    with pytest.raises(errors.WorkerFailed, match="exit code -9"):
        await flash(bundle, port_of(board), on_event=kill)
