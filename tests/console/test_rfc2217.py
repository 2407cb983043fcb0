"""A console behind a real RFC 2217 server: pyserial's own `PortManager`, over a pty."""

from __future__ import annotations

import asyncio
import os
import pty
import random
import termios
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from rig.boards.serial_lines import reset_by_lines
from rig.console.capture import Capture
from rig.history.events import ConsoleGap
from tests.rfc2217_server import Server

if TYPE_CHECKING:
    from tests.console.conftest import Heard

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning"),  # pyserial's own
]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


async def test_what_the_board_prints_arrives_byte_for_byte_and_so_does_what_is_typed(
    server: Server, heard: Heard, tmp_path: object
) -> None:
    data = random.Random(1).randbytes(100_000).replace(b"\n", b"\xff") + b"\r\nthe end\r\n"
    got = bytearray()
    capture = Capture("b", server.url, heard, baud=2_000_000)
    capture.on_bytes = got.extend
    async with capture as console:
        await asyncio.to_thread(_print_all, server.board, data)
        await heard.line("the end")
        await console.write(b"talk \xff 3\n")
        assert await asyncio.to_thread(os.read, server.board, 100) == b"talk \xff 3\n"
    assert bytes(got) == data


def _print_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def test_opening_it_leaves_both_lines_asserted_and_resets_nothing(
    server: Server, heard: Heard
) -> None:
    async with Capture("b", server.url, heard):
        assert server.port.states
    assert [dtr or not rts for dtr, rts in server.port.states] == [True] * len(server.port.states)
    assert server.port.baudrate == 115_200


async def test_it_is_dialled_again_and_the_gap_is_marked(server: Server, heard: Heard) -> None:
    def gap(word: str) -> object:
        return lambda event: isinstance(event, ConsoleGap) and word in event.reason

    async with Capture("b", server.url, heard):
        os.write(server.board, b"one\r\n")
        await heard.line("one")
        server.hang_up()
        await heard.until(gap("is gone"))
        await heard.until(gap("is back"))
        os.write(server.board, b"two\r\n")
        await heard.line("two")
    assert heard.lines() == ["one", "two"]


async def test_a_board_behind_it_is_reset_by_its_lines(server: Server) -> None:
    await reset_by_lines(server.url, download=True)
    states = list(dict.fromkeys(server.port.states))
    assert (False, True) in states  # EN low
    assert states.index((False, True)) < states.index((True, False))  # then IO0 low
    assert server.port.states[-1] == (False, False)


@pytest.mark.parametrize("baud", [115_200, 921_600, 2_000_000])
async def test_a_local_port_is_set_to_the_rate_it_is_asked_for(baud: int, heard: Heard) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        async with Capture("b", os.ttyname(slave), heard, baud=baud):
            assert termios.tcgetattr(slave)[4:6] == [getattr(termios, f"B{baud}")] * 2
    finally:
        os.close(master)
        os.close(slave)
