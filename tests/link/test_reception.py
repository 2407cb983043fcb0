"""A device that dials: its connections are taken, tapped and served like any other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from rig.errors import ServerError
from rig.history.events import ConnectionOpened, Frame, TcpReset, UpgradeAnswered, UpgradeAsked
from rig.link.reception import PARKED, Listening, Reception
from rig.protocol import encode_frame, new_key, upgrade_request
from rig.protocol.handshake import accept_key, header
from rig.servers import ScriptedServer

pytestmark = pytest.mark.anyio

KEY = new_key()
REQUEST = upgrade_request("rig:8927", "/sendspin", KEY)


@pytest.fixture
async def reception(record) -> AsyncIterator[Reception]:
    place = Listening("127.0.0.1", 0)
    async with Reception(place, record.store.append, board="b", patience=0.2) as reception:
        yield reception


class Dialled:
    """A device's end of a connection that it opened (a double)."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def recv(self) -> bytes:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self.sock, 65_536), 10)


@pytest.fixture
async def dial(reception: Reception):
    socks = []

    async def dial() -> Dialled:
        sock = socket.socket()
        sock.setblocking(False)
        socks.append(sock)
        await asyncio.get_running_loop().sock_connect(sock, reception.address)
        return Dialled(sock)

    yield dial
    for sock in socks:
        sock.close()


async def test_its_upgrade_is_answered_when_told_and_its_frames_are_read(
    record, reception, dial
) -> None:
    async with ScriptedServer(reception) as server:
        device = await dial()
        await device.send(REQUEST)
        connection = await server.connect(answer_hello=True)
        await record.wait(UpgradeAsked)
        assert not record.of(UpgradeAnswered)
        assert await connection.upgrade() == 101
        answer = await device.recv()
        assert header(answer, "Sec-WebSocket-Accept") == accept_key(KEY)
        await device.send(encode_frame("text", b'{"type":"client/hello"}', mask=b"abcd"))
        assert await connection.wait_hello() is not None
        await record.wait(Frame, lambda frame: frame.type == "server/hello")
    opened = record.of(ConnectionOpened)[0]
    assert opened.dialled_by == "device"


async def test_a_request_that_comes_later_is_answered_then(record, reception, dial) -> None:
    async with ScriptedServer(reception) as server:
        device = await dial()
        connection = await server.connect()
        connection.ask_upgrade()
        await device.send(REQUEST[:20])
        await device.send(REQUEST[20:])
        assert await connection.wait_upgrade() == 101


async def test_a_drop_is_a_rst_to_the_device(record, reception, dial) -> None:
    async with ScriptedServer(reception) as server:
        device = await dial()
        (await server.connect()).drop()
        with pytest.raises(ConnectionResetError):
            await device.recv()
    assert len(record.of(TcpReset)) == 1


async def test_a_device_that_does_not_dial_is_named(reception) -> None:
    with pytest.raises(ServerError, match=r"b did not dial 127\.0\.0\.1 port"):
        await reception.dial(timeout=0.01)


async def test_what_gave_up_while_it_waited_is_passed_over_and_few_wait(reception, dial) -> None:
    for _ in range(PARKED + 3):
        (await dial()).sock.close()
    alive = await dial()
    await alive.send(b"G")
    wire = await reception.dial(timeout=5)
    wire.start()
    await alive.send(b"ET")
    assert wire.stream.sock.getpeername() == alive.sock.getsockname()


async def test_a_port_that_is_taken_is_named(record, reception) -> None:
    place = Listening(*reception.address)
    with pytest.raises(ServerError, match=rf"127\.0\.0\.1 port {reception.address[1]}"):
        async with Reception(place, record.store.append):
            pass


async def test_only_the_board_itself_is_let_in(record) -> None:
    place = Listening("127.0.0.1", 0)
    async with Reception(place, record.store.append, peer="192.0.2.9", patience=0.1) as shut:
        with socket.create_connection(shut.address, timeout=10) as stranger:
            await asyncio.sleep(0)
            with pytest.raises(ServerError, match="did not dial"):
                await shut.dial(timeout=0.1)
            stranger.settimeout(10)
            assert stranger.recv(1) == b""
