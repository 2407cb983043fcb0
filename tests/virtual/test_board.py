"""The board as a process: plugging in, power, reset, network, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rig.boards.home import state_folder
from rig.boards.virtual.board import VirtualBoard
from rig.errors import BoardError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def running(plug_in, flashed, tmp_path, port):
    """A board whose application runs, and its port."""
    home = flashed(tmp_path / "home")
    async with plug_in(home) as board:
        terminal = port(board)
        await terminal.until("listening on")
        yield board, terminal


async def connect(board: VirtualBoard) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    host = (await board.status())["address"]
    await asyncio.get_running_loop().sock_connect(sock, (host, 8928))
    return sock


async def echoed(sock: socket.socket, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, data)
    async with asyncio.timeout(20):
        return await loop.sock_recv(sock, 4096)


async def test_flashed_firmware_boots_joins_and_listens(running):
    board, terminal = running
    assert "rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)" in terminal.text
    assert "wifi:connected with virtual-air" in terminal.text
    status = await board.status()
    assert (status["state"], status["firmware"], status["joined"]) == ("run", "v0.7.0", True)
    assert f"sta ip: {status['address']}," in terminal.text
    with await connect(board) as sock:
        assert await echoed(sock, b"hello") == b"hello"


async def test_lines_end_in_carriage_return_and_newline(running):
    _, terminal = running
    assert terminal.text.count("\n") == terminal.text.count("\r\n") > 20


async def test_the_boots_own_milliseconds_never_fall_back(running):
    _, terminal = running
    stamps = [
        int(line[3:].split(")")[0]) for line in terminal.text.split("\r\n") if " (" in line[:3]
    ]
    assert len(stamps) > 20
    assert stamps == sorted(stamps)
    assert 150 < stamps[-1] < 60_000


@pytest.mark.parametrize(
    ("word", "reset"),
    [("restart", "rst:0x3 (RTC_SW_SYS_RST)"), ("panic", "rst:0xc (RTC_SW_CPU_RST)")],
)
async def test_the_application_reboots_with_the_right_reason(running, word, reset):
    _, terminal = running
    seen = len(terminal.text)
    terminal.type(word + "\n")
    await terminal.until("listening on", after=seen)
    assert f"{reset},boot:0x8 (SPI_FAST_FLASH_BOOT)" in terminal.text[seen:]


async def test_a_reset_boots_again_and_the_download_strap_does_not(running):
    board, terminal = running
    seen = len(terminal.text)
    await board.reset(download=True)
    await terminal.until("boot:0x2 (UART0_BOOT)\r\nwait uart0 download\r\n", after=seen)
    assert (await board.status())["state"] == "download"
    await board.reset()
    await terminal.until("listening on", after=seen)


async def test_talk_reaches_the_console(running):
    board, terminal = running
    assert await board.talk(7)
    await terminal.until("heard talk 7")


async def test_what_the_application_stores_survives_a_power_cut(running):
    board, terminal = running
    for count in (1, 2, 3):
        seen = len(terminal.text)
        terminal.type("count\n")
        await terminal.until(f"count {count}\r\n", after=seen)
        await board.power(False)
        await board.power(True)
        await terminal.until("listening on", after=len(terminal.text))


async def test_a_chip_without_power_is_silent_and_stays_so_on_reset(running):
    board, terminal = running
    await board.power(False)
    await board.reset()
    status = await board.status()
    assert (status["state"], status["firmware"]) == ("off", None)
    seen = len(terminal.text)
    await board.power(True)
    assert (await terminal.until("listening", after=seen)).startswith("ESP-ROM:esp32c3")


async def test_after_a_reset_old_connections_are_silent_then_reset(running):
    board, terminal = running
    loop = asyncio.get_running_loop()
    with await connect(board) as sock:
        assert await echoed(sock, b"before") == b"before"
        await board.reset(download=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await loop.sock_recv(sock, 10)  # neither FIN nor RST
        seen = len(terminal.text)
        await board.reset()
        await terminal.until("listening on", after=seen)
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(20):
                await loop.sock_recv(sock, 10)


async def test_a_wrong_pass_phrase_never_gets_an_address(plug_in, flashed, tmp_path, port):
    secret = tmp_path / "secret"
    secret.write_text("something else\n")
    home = flashed(tmp_path / "home")
    async with plug_in(home, "--ap-psk-file", str(secret)) as board:
        terminal = port(board)
        await terminal.until("reason 15 (4WAY_HANDSHAKE_TIMEOUT)")
        assert not (await board.status())["joined"]
        assert "something else" not in terminal.text


async def test_the_access_point_goes_and_comes(running):
    board, terminal = running
    seen = len(terminal.text)
    await board.wifi(False)
    await terminal.until("state: run -> init (0x3c0)", after=seen)
    await board.wifi(True)
    await terminal.until("sta ip:", after=seen)


async def test_power_cuts_while_flashing_tear_like_a_chip_and_the_next_flash_mends(
    board, port, flashed, tmp_path
):
    wanted = (flashed(tmp_path / "good", "v0.6.1") / "flash.bin").read_bytes()[:0x40000]
    image = tmp_path / "image.bin"
    image.write_bytes(wanted)
    chance = random.Random(30)

    async def flash() -> asyncio.subprocess.Process:
        await board.reset(download=True)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-m", "esptool", "--port", str(board.home / "uart")),
            *("--before", "no-reset", "--after", "no-reset", "write-flash", "-u", "0", str(image)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    torn = 0
    for _ in range(3):
        process = await flash()
        await process.stdout.readuntil(b"Writing at")
        await asyncio.sleep(chance.random() * 0.02)
        await board.power(False)
        process.kill()
        await process.wait()
        torn += (board.home / "flash.bin").read_bytes()[:0x40000] != wanted
        await board.power(True)
        terminal = port(board)
        await terminal.until("rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\n")
        terminal.close()
        process = await flash()
        output = (await process.communicate())[0]
        assert process.returncode == 0, output.decode()
        assert b"Hash of data verified" in output
        assert (board.home / "flash.bin").read_bytes()[:0x40000] == wanted
        await board.power(False)
        with (board.home / "flash.bin").open("r+b") as file:
            file.write(b"\xff" * 0x400000)
        await board.power(True)
    assert torn


async def test_a_killed_board_leaves_nothing_that_disturbs_the_next(running, plug_in, port):
    board, _ = running
    first = await board.status()
    os.kill(first["pid"], signal.SIGKILL)
    await asyncio.to_thread(wait_for_lock, board)
    again = plug_in(board.home)
    second = await again.status()
    assert second["pid"] != first["pid"]
    assert second["address"] == first["address"]
    terminal = port(again)
    await terminal.until("listening on")


HOLDER = """
import asyncio, pathlib, sys
from rig.boards.virtual.board import VirtualBoard, VirtualSettings

async def main():
    async with VirtualBoard("virtual", VirtualSettings(home=pathlib.Path(sys.argv[1]))):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def held(home: Path) -> asyncio.subprocess.Process:
    """Another process that holds the board."""
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(home)), stdout=subprocess.PIPE
    )
    assert await holder.stdout.readline() == b"held\n"
    return holder


async def test_who_is_killed_while_holding_it_unplugs_it(plug_in):
    board = plug_in()
    await board.status()
    holder = await held(board.home)
    holder.kill()
    await asyncio.to_thread(wait_for_lock, board)
    assert await board.state() == "unplugged"
    await holder.wait()


async def test_who_is_killed_beside_another_holder_leaves_it_to_that_one(plug_in):
    board = plug_in()
    await board.status()
    holder = await held(board.home)
    async with board:
        holder.kill()
        await holder.wait()
        assert (await board.status())["state"] != "unplugged"
    await asyncio.to_thread(wait_for_lock, board)


async def test_who_holds_it_is_known_to_it_before_anything_else_happens(running):
    board, _ = running
    pid = (await board.status())["pid"]
    os.kill(pid, signal.SIGSTOP)  # a busy host: another holder's death could be seen before this
    holding = asyncio.create_task(board.hold())
    known, _ = await asyncio.wait({holding}, timeout=0.2)
    os.kill(pid, signal.SIGCONT)
    assert not known
    assert await holding
    await board.__aexit__()


async def test_who_leaves_in_order_leaves_it_running(running):
    board, _ = running
    pid = (await board.status())["pid"]
    async with board:
        pass
    assert (await board.status())["pid"] == pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_unplugs_it_and_only_the_flash_stays(running, number):
    board, _ = running
    os.kill((await board.status())["pid"], number)
    await asyncio.to_thread(wait_for_lock, board)
    assert sorted(path.name for path in board.home.iterdir()) == ["board.log", "flash.bin", "lock"]
    assert (board.home / "board.log").read_text() == ""


def wait_for_lock(board: VirtualBoard) -> None:
    subprocess.run(["flock", str(board.home / "lock"), "true"], check=True, timeout=30)


async def test_unplugging_what_is_not_plugged_in_does_nothing(plug_in):
    assert await plug_in().unplug() is False


async def test_unplugging_lasts_until_its_process_has_ended(running):
    board, _ = running
    pid = (await board.status())["pid"]
    assert await board.unplug()
    assert memory_of(pid) == b""  # a process's memory goes before its locks do


def memory_of(pid: int) -> bytes:
    """The command line as it lies in the process's memory."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_the_flash_survives_unplugging(running, plug_in, port):
    board, _ = running
    assert await board.unplug()
    async with plug_in(board.home) as again:
        await port(again).until("listening on")


async def test_many_at_once_start_one_process(plug_in, tmp_path):
    boards = [plug_in(tmp_path / "one") for _ in range(4)]
    states = await asyncio.gather(*(board.status() for board in boards))
    assert len({state["pid"] for state in states}) == 1


async def test_two_boards_have_their_own_mac_address_and_port(plug_in):
    async with plug_in() as one, plug_in() as two:
        first, second = await one.status(), await two.status()
        assert all(first[key] != second[key] for key in ("pid", "mac", "address", "uart"))


async def test_a_board_that_nobody_uses_unplugs_itself(plug_in):
    board = plug_in(None, "--idle", "0.2")
    await board.status()
    await asyncio.to_thread(wait_for_lock, board)


async def test_a_deep_home_folder_works_although_socket_addresses_are_short(plug_in, tmp_path):
    async with plug_in(tmp_path / ("deep" * 30) / ("deeper" * 20)) as board:
        assert (await board.status())["ok"]


async def test_a_home_that_is_a_file_is_one_clear_error(plug_in, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BoardError, match=r"cannot keep the virtual board in .*Not a directory"):
        await plug_in(tmp_path / "file" / "home").status()


async def test_a_flash_file_of_another_size_is_one_clear_error(plug_in, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "flash.bin").write_bytes(b"torn")
    with pytest.raises(BoardError, match=r"flash\.bin is no image of the virtual board's flash"):
        await plug_in(home).status()


async def test_a_model_that_breaks_says_so_and_dies(running):
    board, terminal = running
    terminal.type("break\n")
    await asyncio.to_thread(wait_for_lock, board)
    assert "told to break" in (board.home / "board.log").read_text()


@pytest.mark.parametrize("request_", [b"\n", b"{}\n", b'{"do": "fly"}\n', b"[1]\n", b"\xff\xfe\n"])
async def test_a_request_that_is_none_is_answered_with_what_there_is(board, request_):
    reader, writer = await asyncio.open_unix_connection(str(board.home / "control"))
    writer.write(request_)
    answer = json.loads(await reader.readline())
    assert answer["ok"] is False
    assert "status" in answer["error"]
    writer.close()


async def test_an_endless_request_is_cut_off(board):
    reader, writer = await asyncio.open_unix_connection(str(board.home / "control"))
    writer.write(b"x" * 100_000)
    assert await reader.read() == b""
    writer.close()
    assert (await board.status())["ok"]


def test_the_state_folder_is_the_rigs_own_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path))
    assert state_folder() == tmp_path
    monkeypatch.delenv("SENDSPIN_RIG_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert str(state_folder()) == "/var/state/sendspin-rig"
