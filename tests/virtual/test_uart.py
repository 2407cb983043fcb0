from __future__ import annotations

import asyncio
import contextlib
import os
import time

import pytest

from rig.boards.virtual.uart import LIVE_BOUND, RECENT_BOUND, RX_BOUND, Uart

pytestmark = pytest.mark.anyio


@pytest.fixture
async def uart(anyio_backend):
    made = Uart()
    yield made
    made.close()


def attach(uart: Uart) -> int:
    return os.open(uart.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)


async def attached(uart: Uart, wanted: bool = True) -> None:
    async with asyncio.timeout(10):
        while uart.attached is not wanted:  # noqa: ASYNC110 - a pty tells nobody of it
            await asyncio.sleep(0.005)


async def read(fd: int, count: int) -> bytes:
    """`count` bytes from the far end."""
    data = b""
    ready = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ready.set)
    try:
        async with asyncio.timeout(20):
            while len(data) < count:
                await ready.wait()
                ready.clear()
                with contextlib.suppress(BlockingIOError):
                    data += os.read(fd, 65536)
    finally:
        asyncio.get_running_loop().remove_reader(fd)
    return data


async def test_the_far_end_can_be_opened_again_and_again(uart):
    for turn in range(5):
        fd = attach(uart)
        await attached(uart)
        uart.write(b"hello %d\n" % turn)
        assert await read(fd, 8) == b"hello %d\n" % turn
        os.write(fd, b"\x00\xc0\r\n\x03")
        assert await uart.read() == b"\x00\xc0\r\n\x03"
        os.close(fd)
        await attached(uart, False)


async def test_what_a_writer_left_before_it_closed_is_heard(uart):
    fd = attach(uart)
    os.write(fd, b"talk 5\n")
    os.close(fd)
    async with asyncio.timeout(10):
        assert await uart.read() == b"talk 5\n"


async def test_who_attaches_late_sees_what_was_printed_since_the_reset_and_no_more(uart):
    uart.write(b"before the reset\n")
    uart.reset()
    uart.write(b"x" * RECENT_BOUND + b"newest")
    fd = attach(uart)
    assert (await read(fd, RECENT_BOUND)).endswith(b"xnewest")
    os.close(fd)


async def test_what_one_reader_left_unread_is_not_the_next_ones(uart):
    fd = attach(uart)
    await attached(uart)
    uart.write(b"unread" * 1000)
    os.close(fd)
    await attached(uart, False)
    fd = attach(uart)
    await attached(uart)
    uart.write(b"fresh")
    assert await read(fd, 5) == b"fresh"
    os.close(fd)


async def test_a_reader_that_stalls_never_holds_the_chip_up(uart):
    fd = attach(uart)
    await attached(uart)
    began = time.monotonic()
    for _ in range(300):
        uart.write(b"y" * 16_384)
    assert time.monotonic() - began < 5
    assert len(uart._out) <= LIVE_BOUND
    os.close(fd)


async def test_sending_waits_for_a_slow_reader_and_loses_nothing(uart):
    fd = attach(uart)
    await attached(uart)
    data = os.urandom(300_000)

    async def send() -> None:
        for at in range(0, len(data), 5000):
            await uart.send(data[at : at + 5000])

    sending = asyncio.create_task(send())
    assert await read(fd, len(data)) == data
    await sending
    os.close(fd)


async def test_input_that_nobody_reads_overruns(uart):
    fd = attach(uart)
    await attached(uart)
    for _ in range(40):
        os.write(fd, b"z" * 4000)
        await asyncio.sleep(0.002)
    assert len(uart._in) <= RX_BOUND
    os.close(fd)


async def test_pacing_holds_the_programmed_baud_rate(uart):
    fd = attach(uart)
    await attached(uart)
    uart.paced = True
    uart.baud = 115_200
    began = time.monotonic()
    uart.write(b"p" * 3000)
    await read(fd, 3000)
    assert time.monotonic() - began > 3000 * 10 / 115_200 * 0.85
    os.close(fd)


async def test_a_power_cut_takes_what_was_not_sent(uart):
    fd = attach(uart)
    await attached(uart)
    uart.paced = True
    uart.write(b"q" * 5000)
    uart.cut()
    uart.paced = False
    uart.write(b"end")
    assert len(await read(fd, 3)) < 5000
    os.close(fd)
