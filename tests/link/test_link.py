"""The link in front of a device, between sockets, and between a real client and a real server."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from rig.errors import ServerError
from rig.history import HistoryStore
from rig.history.events import (
    ConnectionClosed,
    ConnectionOpened,
    Frame,
    Note,
    TcpFin,
    TcpReset,
    UpgradeAnswered,
    UpgradeAsked,
)
from rig.link import Link
from rig.link import link as link_module

pytestmark = pytest.mark.anyio


class At:
    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.host, self.port, self.path = host, port, "/sendspin"


async def relayed(link: Link, device: Any) -> tuple[socket.socket, Any]:
    """A plain client socket, and the double's end behind the link."""
    url = await link.listen()
    port = int(url.split(":")[2].split("/")[0])
    client = socket.socket()
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    there = await device.accept()
    await there.until(lambda: link.relays)
    return client, there


async def received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65_536), 10)
        assert more
        data += more
    return data


async def test_a_websocket_conversation_passes_unaltered_and_is_recorded(record: Any) -> None:
    async def answer(connection: ServerConnection) -> None:
        await connection.send(json.dumps({"type": "client/hello", "payload": {}}))
        async for message in connection:
            await connection.send(message)

    async with serve(answer, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with Link(At(port), record.store.append, board="b") as link:
            url = await link.listen(server_id="the-server", clock_us=lambda: 9)
            async with connect(url, compression=None) as client:
                assert json.loads(await client.recv())["type"] == "client/hello"
                for message in ("x" * 300, bytes(70_000)):
                    await client.send(message)
                    assert await client.recv() == message
                await (await client.ping())
            await record.wait(ConnectionClosed)
    opened = record.of(ConnectionOpened)[0]
    assert (opened.server_id, opened.epoch_us, opened.via, opened.board) == (
        "the-server",
        9,
        "link",
        "b",
    )
    assert len(record.of(UpgradeAsked)) == 1
    assert [event.status for event in record.of(UpgradeAnswered)] == [101]
    assert [(f.sender, f.opcode, f.size, f.masked) for f in record.of(Frame)] == [
        ("device", "text", 39, False),
        ("server", "text", 300, True),
        ("device", "text", 300, False),
        ("server", "binary", 70_000, True),
        ("device", "binary", 70_000, False),
        ("server", "ping", 4, True),
        ("device", "pong", 4, False),
        ("server", "close", 2, True),
        ("device", "close", 2, False),
    ]
    assert [f.close_code for f in record.of(Frame, lambda f: f.opcode == "close")] == [1000] * 2


async def test_ten_megabytes_cross_both_ways_within_bounded_buffers(
    link: Link, device: Any
) -> None:
    client, there = await relayed(link, device)
    data = bytes(range(256)) * 40_960
    loop = asyncio.get_running_loop()
    relay = next(iter(link.relays.values()))

    async def drain(receive: Any) -> bytes:
        got = bytearray()
        while len(got) < len(data):
            got += await receive(65_536)
            assert relay.wire.backlog < 600_000
            assert relay.server.buffered < 600_000
        return bytes(got)

    up, down, _, _ = await asyncio.wait_for(
        asyncio.gather(
            drain(there.recv),
            drain(lambda size: loop.sock_recv(client, size)),
            loop.sock_sendall(client, data),
            loop.sock_sendall(there.sock, data),
        ),
        30,
    )
    client.close()
    assert up == down == data


async def test_a_slow_device_slows_the_server_down(link: Link, device: Any) -> None:
    client, there = await relayed(link, device)
    sending = asyncio.ensure_future(
        asyncio.get_running_loop().sock_sendall(client, bytes(32 << 20))
    )
    relay = next(iter(link.relays.values()))
    await there.until(lambda: "backlog" in relay.server._paused)
    assert relay.wire.backlog < 600_000
    assert not sending.done()
    sending.cancel()
    client.close()


async def test_the_servers_half_close_leaves_the_device_talking(
    link: Link, device: Any, record: Any
) -> None:
    client, there = await relayed(link, device)
    client.shutdown(socket.SHUT_WR)
    assert await there.recv() == b""
    await there.send(b"still here")
    assert await received(client, 10) == b"still here"
    there.sock.close()
    assert await asyncio.get_running_loop().sock_recv(client, 10) == b""
    await record.wait(ConnectionClosed)
    assert [event.sender for event in record.of(TcpFin)] == ["server", "device"]
    client.close()


async def test_the_devices_half_close_leaves_the_server_talking(
    link: Link, device: Any, record: Any
) -> None:
    client, there = await relayed(link, device)
    there.sock.shutdown(socket.SHUT_WR)
    assert await asyncio.get_running_loop().sock_recv(client, 10) == b""
    client.send(b"still here")
    assert await there.exactly(10) == b"still here"
    client.close()
    assert await there.recv() == b""
    assert (await record.wait(ConnectionClosed)).reason == "ended by both"
    assert [event.sender for event in record.of(TcpFin)] == ["device", "server"]


async def test_the_servers_reset_reaches_the_device_as_a_reset(
    link: Link, device: Any, record: Any
) -> None:
    client, there = await relayed(link, device)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert await there.ending() == "reset"
    assert [event.sender for event in record.of(TcpReset)] == ["server"]


async def test_the_devices_reset_reaches_the_server_as_a_reset(
    link: Link, device: Any, record: Any
) -> None:
    client, there = await relayed(link, device)
    there.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    there.sock.close()
    with pytest.raises(ConnectionResetError):
        await received(client, 1)
    assert [event.sender for event in record.of(TcpReset)] == ["device"]
    client.close()


async def test_a_rst_fault_cuts_both_ends(link: Link, device: Any, record: Any) -> None:
    client, there = await relayed(link, device)
    next(iter(link.relays.values())).wire.rst()
    assert await there.ending() == "reset"
    with pytest.raises(ConnectionResetError):
        await received(client, 1)
    assert link.relays == {}
    client.close()


async def test_a_silent_link_keeps_both_ends_open_and_still(
    link: Link, device: Any, record: Any
) -> None:
    client, there = await relayed(link, device)
    relay = next(iter(link.relays.values()))
    relay.wire.silence()
    client.send(b"hello?")
    await there.send(b"hello!")
    client.shutdown(socket.SHUT_WR)
    await there.until(lambda: relay.server.peer_ended and relay.wire._swallowed["to_server"])
    assert there.quiet()
    with pytest.raises(BlockingIOError):
        client.recv(1)
    relay.wire.speak()
    assert await there.recv() == b""  # the end that was held back; the bytes are lost
    client.close()


async def test_behind_a_silent_link_the_server_never_hears_of_a_reset_and_is_freed_at_the_end(
    link: Link, device: Any, record: Any
) -> None:
    client, there = await relayed(link, device)
    relay = next(iter(link.relays.values()))
    relay.wire.silence()
    there.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    there.sock.close()
    await record.wait(ConnectionClosed)
    with pytest.raises(BlockingIOError):
        client.recv(1)
    assert relay.server.open
    await link.aclose()
    assert not relay.server.open
    assert link.relays == {}
    client.close()


async def test_a_real_client_sees_a_rst_fault_as_a_lost_connection(record: Any) -> None:
    async def hold(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(hold, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with (
            Link(At(port), record.store.append) as link,
            connect(await link.listen()) as client,
        ):
            next(iter(link.relays.values())).wire.rst()
            with pytest.raises(ConnectionClosedError):
                await asyncio.wait_for(client.recv(), 10)


async def test_a_server_is_turned_away_where_the_device_is_not_there(record: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with Link(At(port), record.store.append) as link:
        url = await link.listen()
        client = socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0])))
        client.setblocking(False)
        with pytest.raises(ConnectionResetError):
            await received(client, 1)
        client.close()
    (note,) = record.of(Note)
    assert "Connection refused" in note.text


async def test_a_refused_connection_is_one_clear_error(record: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with Link(At(port), record.store.append) as link:
        with pytest.raises(ServerError, match=f"port {port} cannot be reached: Connection refused"):
            await link.dial()
    assert record.events == []


async def test_an_address_that_is_none_is_one_clear_error(record: Any) -> None:
    async with Link(At(1, host="no.such.host.invalid"), record.store.append) as link:
        with pytest.raises(ServerError, match=r"no\.such\.host\.invalid"):
            await link.dial(timeout=20)


async def test_a_device_whose_backlog_is_full_is_one_clear_error(record: Any) -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(3)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex(full.getsockname())
    async with Link(At(full.getsockname()[1]), record.store.append) as link:
        with pytest.raises(ServerError, match=r"did not accept a connection within 0\.2 s"):
            await link.dial(timeout=0.2)
    for each in (full, *waiting):
        each.close()


async def test_a_port_in_use_is_one_clear_error(link: Link, device: Any) -> None:
    with pytest.raises(ServerError, match=r"cannot listen .* Address already in use"):
        await link.listen(port=device.place.port)


async def test_a_link_listens_once(link: Link) -> None:
    await link.listen()
    with pytest.raises(ServerError, match="listens already"):
        await link.listen()


async def test_leaving_the_link_closes_all_and_frees_the_port(device: Any, tmp_path: Any) -> None:
    with HistoryStore(tmp_path / "h.jsonl") as store:
        link = Link(device.place, store.append)
        client, there = await relayed(link, device)
        await link.dial()
        other = await device.accept()
        await link.aclose()
        assert await there.ending() == "fin"
        assert await other.ending() == "fin"
        assert link.wires == link.relays == {}
        client.close()


async def test_tcp_without_upgrade_sends_nothing(link: Link, device: Any, record: Any) -> None:
    await link.tcp_without_upgrade()
    there = await device.accept()
    assert there.quiet()
    assert record.of(UpgradeAsked) == []


async def test_upgrade_without_hello_asks_and_then_keeps_silent(
    link: Link, device: Any, record: Any
) -> None:
    await link.upgrade_without_hello()
    there = await device.accept()
    await there.accept_upgrade()
    await there.send(b"\x81\x02{}")
    await record.wait(Frame)
    assert there.quiet()
    assert [frame.sender for frame in record.of(Frame)] == ["device"]


async def test_a_connection_that_is_reset_at_once_is_one_clear_error(
    link: Link, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial = link_module._connect

    async def and_be_reset(*arguments: Any) -> socket.socket:
        sock: socket.socket = await dial(*arguments)
        there = await device.accept()
        there.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.sock.close()
        return sock

    monkeypatch.setattr(link_module, "_connect", and_be_reset)
    with pytest.raises(ServerError, match="as soon as it had accepted it"):
        await link.dial()
