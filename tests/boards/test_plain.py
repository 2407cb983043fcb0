"""The plain board: addresses, ports, and the user's own commands."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import socket
import tty
from pathlib import Path

import pytest

from rig.boards import Address
from rig.boards.commands import Run
from rig.boards.plain import PlainBoard, PlainSettings, has_lines, parse_address
from rig.errors import BenchError, BoardError


def board(**keys: object) -> PlainBoard:
    return PlainBoard("kit", PlainSettings(**{"console": "unused", **keys}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.7", Address("10.0.0.7", 8928, "/sendspin")),
        ("10.0.0.7:81", Address("10.0.0.7", 81, "/sendspin")),
        ("esp.local:81/ws", Address("esp.local", 81, "/ws")),
        ("ws://esp.local/ws", Address("esp.local", 8928, "/ws")),
        ("[fe80::1]:81", Address("fe80::1", 81, "/sendspin")),
    ],
)
def test_an_address_is_read_in_every_spelling(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":81", "a b", "a:0", "a:port", "wss://a", "[::1", "a:99999"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="is no address"):
        parse_address(text)


def test_a_board_that_is_flashed_already_has_no_flash_port() -> None:
    assert board().flash_port is None


def test_a_socket_is_flashed_without_reset_lines() -> None:
    port = board(flash="socket://localhost:5555").flash_port
    assert port is not None
    assert (port.before, port.after) == ("no-reset", "no-reset")


def test_a_pty_has_no_reset_lines() -> None:
    master, slave = pty.openpty()
    try:
        assert not has_lines(os.ttyname(slave))
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_with_lines_is_reset_by_esptool_itself() -> None:
    port = board(flash="rfc2217://localhost:5555").flash_port
    assert port is not None
    assert (port.before, port.after) == ("default-reset", "hard-reset")


def test_a_reset_command_takes_the_reset_from_esptool() -> None:
    port = board(flash="rfc2217://localhost:5555", reset=Run("true")).flash_port
    assert port is not None
    assert port.before == "no-reset"


def test_a_reset_command_is_run(tmp_path: Path) -> None:
    done = tmp_path / "done it"
    asyncio.run(board(reset=Run(f"touch '{done}'")).reset())
    assert done.exists()


def test_a_reset_command_that_fails_is_shown_with_its_words() -> None:
    with pytest.raises(BoardError, match="ended with 7: echo no relay; exit 7") as caught:
        asyncio.run(board(reset=Run("echo no relay; exit 7")).reset())
    assert caught.value.hint == "it said: no relay"


def test_a_command_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rig.boards.commands.SECONDS", 0.3)
    pid = tmp_path / "pid"
    with pytest.raises(BoardError, match="took longer"):
        asyncio.run(board(reset=Run(f"sleep 600 & echo $! >{pid}; wait")).reset())
    try:
        child = os.pidfd_open(int(pid.read_text()))
    except ProcessLookupError:
        return  # gone already
    ended, _, _ = select.select([child], [], [], 10)
    os.close(child)
    assert ended


def test_a_board_without_a_reset_says_so() -> None:
    assert not board().can_reset
    with pytest.raises(BoardError, match="no way to reset"):
        asyncio.run(board().reset())


def test_download_mode_needs_a_command_of_its_own(tmp_path: Path) -> None:
    done = tmp_path / "download"
    with pytest.raises(BoardError, match="into download mode"):
        asyncio.run(board(reset=Run("true")).reset(download=True))
    both = board(reset=Run("false"), reset_download=Run(f"touch {done}"))
    asyncio.run(both.reset(download=True))
    assert done.exists()


def test_a_port_without_lines_cannot_be_reset_by_them() -> None:
    master, slave = pty.openpty()
    try:
        with pytest.raises(BoardError, match="no DTR and RTS lines"):
            asyncio.run(board(console=os.ttyname(slave), reset="lines").reset())
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_that_is_not_there_is_named() -> None:
    with pytest.raises(BoardError, match="cannot open the port /dev/nowhere"):
        asyncio.run(board(console="/dev/nowhere", reset="lines").reset())


def test_talk_is_typed_on_the_console() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        kit = board(console=os.ttyname(slave), talk="talk {n}\n")
        assert asyncio.run(kit.talk(3)) is True
        assert os.read(master, 100) == b"talk 3\n"
    finally:
        os.close(master)
        os.close(slave)


def test_talk_goes_through_the_attached_console() -> None:
    typed: list[bytes] = []

    async def write(data: bytes) -> None:
        typed.append(data)

    kit = board(console="/dev/nowhere", talk="k{n}")
    kit.console_writer = write
    assert asyncio.run(kit.talk(2)) is True
    assert typed == [b"k2"]


def test_talk_over_a_socket_console() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert asyncio.run(board(console=f"socket://127.0.0.1:{port}", talk="t{n}").talk(1))
        with server.accept()[0] as client:
            assert client.recv(10) == b"t1"


def test_talk_by_command_puts_the_number_in(tmp_path: Path) -> None:
    out = tmp_path / "n"
    assert asyncio.run(board(talk=Run(f"echo {{n}} >{out}")).talk(5))
    assert out.read_text() == "5\n"


def test_a_board_that_cannot_talk_says_so() -> None:
    assert asyncio.run(board().talk(1)) is False
