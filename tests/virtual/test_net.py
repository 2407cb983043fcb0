from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from rig.boards.virtual.net import Loopback, open_network, reserve
from rig.errors import BoardError

pytestmark = pytest.mark.anyio


async def test_each_board_has_a_loopback_address_of_its_own(anyio_backend):
    one, two = Loopback("home#1"), Loopback("home#1")
    assert one.address != two.address
    assert one.address.startswith("127.")
    await one.close()
    again = Loopback("home#1")
    assert again.address == one.address
    await again.close()
    await two.close()


def test_when_every_address_is_taken_that_is_one_clear_error():
    with reserve(iter(["test-only"]))[1], pytest.raises(BoardError, match="no address is free"):
        reserve(iter(["test-only"]))


async def test_without_asking_for_a_namespace_there_is_none(anyio_backend):
    network, why = await open_network("seed", bytes(6), namespace=False)
    assert (network.kind, network.interface, why) == ("loopback", None, None)
    await network.close()


async def test_a_muted_socket_hears_nothing_and_is_not_closed(anyio_backend):
    network = Loopback("mute")
    with socket.create_server((network.address, 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
        near.setblocking(False)
        if not network.mute(near):
            pytest.skip("this kernel lets only root put a filter on a socket")
        far.sendall(b"unheard")
        far.settimeout(0.1)
        with pytest.raises(TimeoutError):
            far.recv(1)
        with pytest.raises(BlockingIOError):
            near.recv(1)
        far.close()
        near.close()
    await network.close()


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def kept_back(interface: str) -> Iterator[None]:
    """Nothing of what the board sends arrives."""
    table = f"inet {interface}_test"
    hook = "type filter hook input priority 0"
    for words in (
        f"add table {table}",
        f"add chain {table} in {{ {hook} ; }}",
        f"add rule {table} in iifname {interface} drop",
    ):
        subprocess.run(["nft", words], check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", f"delete table {table}"], check=True)


def set_link(interface: str, state: str) -> None:
    subprocess.run(["ip", "link", "set", interface, state], check=True)


@pytest.fixture
async def in_namespace(plug_in, flashed, tmp_path, port):
    board = plug_in(flashed(tmp_path / "home"), namespace=True)
    status = await board.status()
    if status["network"] != "netns":
        pytest.skip(status["no_namespace"])
    terminal = port(board)
    await terminal.until("listening on")
    return board, terminal


async def echoes(address: str) -> bool:
    reader, writer = await asyncio.open_connection(address, 8928)
    writer.write(b"hello")
    answer = await reader.readexactly(5)
    writer.close()
    return answer == b"hello"


@pytest.mark.root
async def test_with_root_it_lives_behind_a_veth_that_goes_with_it(in_namespace):
    board, _ = in_namespace
    assert board.interface in links()
    assert await echoes(board.address.host)
    await board.unplug()
    await gone(board.interface)


@pytest.mark.root
async def test_killing_it_leaves_no_veth(in_namespace):
    board, _ = in_namespace
    os.kill((await board.status())["pid"], signal.SIGKILL)
    await gone(board.interface)


@pytest.mark.root
@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft (Debian: nftables)")
async def test_an_end_that_nobody_answered_keeps_no_veth(in_namespace):
    board, _ = in_namespace
    reader, writer = await asyncio.open_connection(board.address.host, 8928)
    writer.write(b"hello")
    await reader.readexactly(5)
    with kept_back(board.interface):
        writer.close()  # the device closes, too: its FIN is never acknowledged
        await asyncio.sleep(0.1)
        await board.unplug()
        assert board.interface not in links()


async def gone(interface: str) -> None:
    """The kernel removes a dead namespace's links a moment later."""
    async with asyncio.timeout(20):
        while interface in links():  # noqa: ASYNC110 - nobody tells when
            await asyncio.sleep(0.02)


@pytest.mark.root
async def test_taking_the_hosts_end_down_is_a_loss_of_the_air(in_namespace):
    board, terminal = in_namespace
    seen = len(terminal.text)
    set_link(board.interface, "down")
    await terminal.until("state: run -> init (0xc800)", after=seen)
    set_link(board.interface, "up")
    await terminal.until("sta ip:", after=seen)
    assert await echoes(board.address.host)
