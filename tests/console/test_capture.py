"""A live console on ptys, sockets, pyserial URLs and files."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rig.console import capture as module
from rig.console import sources
from rig.console.capture import Capture
from rig.console.serial_log import read_index
from rig.errors import BenchError, BoardError, HistoryError
from rig.history import Event, HistoryStore
from rig.history.events import Boot, ConsoleGap

if TYPE_CHECKING:
    from tests.console.conftest import Heard, Pty

pytestmark = pytest.mark.anyio
PATIENCE_S = 20.0


def gap(word: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, ConsoleGap) and word in event.reason


async def test_what_a_board_prints_becomes_events_and_stays_on_disk(
    pty: Pty, heard: Heard, tmp_path: Path
) -> None:
    raw = b"\xff\0ESP-ROM:esp32c3-api1-20210207\r\nrst:0x1 (POWERON),boot:0x8 (SPI_FAST)\r\n"
    async with Capture("b", pty.path, heard, folder=tmp_path) as console:
        pty.prints(raw)
        boot = await heard.until(lambda event: isinstance(event, Boot))
        assert console.log == tmp_path / "serial-b.log"
    assert (tmp_path / "serial-b.log").read_bytes() == raw
    stamps = read_index(tmp_path / "serial-b.log")
    assert stamps[0].offset == 0
    assert boot.t in [stamp.t for stamp in stamps]


async def test_events_go_straight_into_a_history(pty: Pty, tmp_path: Path) -> None:
    with HistoryStore(tmp_path / "history.jsonl") as store:
        async with Capture("b", pty.path, store.append):
            with store.watch() as watch:
                pty.prints(b"rst:0x3 (SW_RESET),boot:0x8 (X)\r\n")
                assert await watch.next(Boot, timeout=PATIENCE_S) is not None


async def test_a_megabyte_at_once_is_kept_byte_for_byte(
    pty: Pty, heard: Heard, tmp_path: Path
) -> None:
    data = os.urandom(1_000_000).replace(b"\n", b"\0") + b"\nthe end\r\n"
    async with Capture("b", pty.path, heard, folder=tmp_path, baud=2_000_000):
        os.set_blocking(pty.master, True)
        await asyncio.to_thread(_print_all, pty.master, data)
        await heard.line("the end")
    assert (tmp_path / "serial-b.log").read_bytes() == data


def _print_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def test_what_is_written_reaches_the_board(pty: Pty, heard: Heard) -> None:
    async with Capture("b", pty.path, heard) as console:
        await console.write(b"talk 3\n")
        assert pty.typed() == b"talk 3\n"


async def test_a_long_text_waits_until_the_board_takes_it(pty: Pty, heard: Heard) -> None:
    text = b"0123456789" * 2_000
    async with Capture("b", pty.path, heard) as console:
        writing = asyncio.ensure_future(console.write(text))
        got = bytearray()
        ready = asyncio.Event()
        asyncio.get_running_loop().add_reader(pty.master, ready.set)
        async with asyncio.timeout(PATIENCE_S):
            while len(got) < len(text):
                await ready.wait()
                ready.clear()
                got += pty.typed()
        asyncio.get_running_loop().remove_reader(pty.master)
        await writing
    assert bytes(got) == text


async def test_a_board_that_takes_nothing_is_an_error(
    pty: Pty, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_S", 0.01)
    async with Capture("b", pty.path, heard) as console:
        with pytest.raises(BoardError, match="took nothing"):
            await console.write(b"x" * 1_000_000)


async def test_a_line_without_its_end_comes_when_the_port_falls_silent(
    pty: Pty, heard: Heard
) -> None:
    async with Capture("b", pty.path, heard):
        pty.prints(b"esp> ")
        await heard.line("esp> ")


async def test_a_flood_is_folded_and_told_when_it_ends(pty: Pty, heard: Heard) -> None:
    async with Capture("b", pty.path, heard):
        os.set_blocking(pty.master, True)
        await asyncio.to_thread(_print_all, pty.master, b"invalid header: 0xffffffff\r\n" * 3000)
        pty.prints(b"next\r\n")
        await heard.line("next")
    assert heard.lines() == ["invalid header: 0xffffffff"] * 3000 + ["next"]
    assert len(heard.events) < 20


async def test_while_paused_the_port_is_free_and_its_bytes_belong_to_others(
    pty: Pty, heard: Heard
) -> None:
    async with Capture("b", pty.path, heard) as console:
        pty.prints(b"before\r\n")
        async with console.paused():
            assert not console.attached
            pty.prints(b"for the flasher\r\n")
            assert os.read(pty.slave, 100) == b"for the flasher\r\n"
        pty.prints(b"after\r\n")
        await heard.line("after")
    assert heard.lines() == ["before", "after"]
    assert any(gap("paused")(event) for event in heard.events)


async def test_an_exclusive_lock_of_another_program_is_never_in_the_way(
    pty: Pty, heard: Heard
) -> None:
    import serial

    async with Capture("b", pty.path, heard):
        with serial.serial_for_url(pty.path, exclusive=True) as port:  # as esptool opens it
            assert port.is_open


LOCKER = """
import fcntl, os, sys
port = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="/proc/locks is Linux's")
async def test_a_port_that_another_process_locks_is_left_to_it_and_taken_back(
    pty: Pty, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LOCKED_S", 0.0)
    async with Capture("b", pty.path, heard):
        locker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LOCKER, pty.path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert locker.stdout is not None
        assert await locker.stdout.readline() == b"locked\n"
        pty.prints(b"for the flasher\r\n")
        await heard.until(gap(f"process {locker.pid} has locked it"))
        assert os.read(pty.slave, 100) == b"for the flasher\r\n"
        with pytest.raises(BoardError, match=f"process {locker.pid}"):
            sources.open_source(pty.path)
        await locker.communicate()
        await heard.until(gap("is back"))
        pty.prints(b"after\r\n")
        await heard.line("after")
    assert heard.lines() == ["after"]


async def test_a_port_that_vanishes_and_comes_back_is_read_again(
    new_pty: Callable[[], Pty], heard: Heard, tmp_path: Path
) -> None:
    first, second, port = new_pty(), new_pty(), tmp_path / "uart"
    port.symlink_to(first.path)
    async with Capture("b", str(port), heard) as console:
        first.prints(b"whole\r\ntorn li")
        await heard.line("whole")
        port.unlink()
        first.unplug()
        await heard.until(gap("is gone"))
        with pytest.raises(BoardError, match="away"):
            await console.write(b"x")
        port.symlink_to(second.path)
        await heard.until(gap("is back"))
        second.prints(b"here again\r\n")
        await heard.line("here again")
    assert heard.lines() == ["whole", "torn li", "here again"]


async def test_a_port_that_is_not_there_is_an_error_unless_waited_for(
    pty: Pty, heard: Heard, tmp_path: Path
) -> None:
    port = tmp_path / "uart"
    with pytest.raises(BoardError, match=r"cannot open the console .*uart"):
        async with Capture("b", str(port), heard):
            pass
    async with Capture("b", str(port), heard, wait=True):
        port.symlink_to(pty.path)
        await heard.until(gap("is back"))


async def test_a_socket_is_a_console_and_is_dialled_again(heard: Heard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        async with Capture("b", url, heard) as console:
            board, _ = await asyncio.to_thread(server.accept)
            board.sendall(b"one\r\n")
            await heard.line("one")
            await console.write(b"typed")
            assert await asyncio.to_thread(board.recv, 100) == b"typed"
            board.close()
            await heard.until(gap("is gone"))
            board, _ = await asyncio.to_thread(server.accept)
            board.sendall(b"two\r\n")
            await heard.line("two")
            board.close()


async def test_a_url_without_a_descriptor_is_read_by_a_thread(heard: Heard) -> None:
    async with Capture("b", "loop://", heard) as console:
        await console.write(b"echo\r\n")
        await heard.line("echo")
        async with console.paused():
            assert not console.attached


async def test_a_growing_file_is_read_from_its_end_on(heard: Heard, tmp_path: Path) -> None:
    path = tmp_path / "uart.log"
    path.write_bytes(b"an old run\n")
    with path.open("ab", buffering=0) as board:
        async with Capture("b", str(path), heard):
            board.write(b"new\n")
            await heard.line("new")
            board.write(b"x" * 300_000 + b"\nlast\n")
            await heard.line("last")
    assert "an old run" not in heard.lines()


async def test_a_file_that_starts_over_is_read_from_its_start(heard: Heard, tmp_path: Path) -> None:
    path = tmp_path / "uart.log"
    path.write_bytes(b"a long line of an old run\n")
    async with Capture("b", str(path), heard):
        path.write_bytes(b"fresh\n")
        await heard.until(gap("cut short"))
        await heard.line("fresh")


async def test_a_file_can_be_read_but_not_written(heard: Heard, tmp_path: Path) -> None:
    path = tmp_path / "uart.log"
    path.touch()
    async with Capture("b", str(path), heard) as console:
        with pytest.raises(BoardError, match="is a file"):
            await console.write(b"x")


@pytest.mark.parametrize("url", ["socket://", "socket://host", "nonsense://x", "/", "socket://h:x"])
async def test_what_can_never_be_a_console_is_wrong_use(url: str, heard: Heard) -> None:
    with pytest.raises(BenchError, match="is no console"):
        async with Capture("b", url, heard):
            pass


async def test_a_failing_sink_stops_the_capture_and_is_raised(pty: Pty) -> None:
    def full(event: Event) -> None:
        raise HistoryError("no space left")

    async def capture() -> None:
        async with Capture("b", pty.path, full) as console, asyncio.timeout(PATIENCE_S):
            pty.prints(b"line\r\n")
            await console.failed()

    with pytest.raises(HistoryError, match="no space left"):
        await capture()


async def test_a_sink_that_failed_is_raised_on_leaving_too(pty: Pty) -> None:
    called = asyncio.Event()

    def full(event: Event) -> None:
        called.set()
        raise HistoryError("no space left")

    async def capture() -> None:
        async with Capture("b", pty.path, full), asyncio.timeout(PATIENCE_S):
            pty.prints(b"line\r\n")
            await called.wait()

    with pytest.raises(HistoryError, match="no space left"):
        await capture()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_leaving_lets_go_of_every_descriptor(pty: Pty, heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "uart.log").touch()
    before = descriptors()
    for url in (pty.path, str(tmp_path / "uart.log"), "loop://"):
        async with Capture("b", url, heard, folder=tmp_path):
            pass
    assert descriptors() == before
