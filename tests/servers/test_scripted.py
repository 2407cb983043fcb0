"""The scripted server, against a double and against a real WebSocket server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from rig.errors import ServerError
from rig.history.events import (
    ConnectionClosed,
    ConnectionOpened,
    EarlyBytes,
    Frame,
    LinkEffect,
    TcpFin,
    TcpReset,
    WireError,
)
from rig.link import Link
from rig.protocol import encode_close, encode_frame
from rig.protocol.frames import FrameReader
from rig.servers import Connection, ScriptedServer

pytestmark = pytest.mark.anyio

HELLO = b'{"type":"client/hello","payload":{"client_id":"c","name":"n","version":1}}'


def text(kind: str, **payload: Any) -> bytes:
    return encode_frame("text", json.dumps({"type": kind, "payload": payload}).encode())


@pytest.fixture
async def server(link: Link) -> Any:
    async with ScriptedServer(link) as server:
        yield server


async def upgraded(server: ScriptedServer, device: Any, **how: Any) -> tuple[Connection, Any]:
    connection = await server.connect(**how)
    there = await device.accept()
    connection.ask_upgrade()
    await there.accept_upgrade()
    assert await connection.wait_upgrade() == 101
    return connection, there


async def next_message(there: Any) -> Any:
    """The next text message that the double receives, parsed."""
    reader = FrameReader()
    while True:
        for frame in reader.feed(await there.exactly(1)):
            assert frame.masked
            return json.loads(frame.payload)


async def test_connecting_sends_nothing(server: ScriptedServer, device: Any, record: Any) -> None:
    await server.connect()
    there = await device.accept()
    assert there.quiet()
    assert [type(event) for event in record.events] == [ConnectionOpened]


async def test_an_upgrade_and_a_hello_are_waited_for(server: ScriptedServer, device: Any) -> None:
    connection, there = await upgraded(server, device)
    await there.send(encode_frame("text", HELLO))
    hello = await connection.wait_hello()
    assert hello is not None
    assert hello.message is not None
    assert hello.message["payload"]["client_id"] == "c"
    assert connection.generation == "legacy"
    assert connection.hello == hello
    assert there.quiet()  # it was not told to greet


async def test_a_noise_device_opens_with_client_init(server: ScriptedServer, device: Any) -> None:
    connection, there = await upgraded(server, device)
    await there.send(text("client/init", client_id="c", version=1))
    assert await connection.wait_hello() is not None
    assert connection.generation == "noise"


async def test_a_device_that_keeps_silent_gives_none(server: ScriptedServer, device: Any) -> None:
    connection = await server.connect()
    await device.accept()
    assert await connection.upgrade(timeout=0.02) is None
    assert await connection.wait_hello(timeout=0.02) is None


async def test_a_wait_is_over_when_the_connection_is(server: ScriptedServer, device: Any) -> None:
    connection, there = await upgraded(server, device)
    waiting = asyncio.ensure_future(connection.wait_hello(timeout=600))
    there.sock.close()
    assert await asyncio.wait_for(waiting, 10) is None
    assert await connection.wait_closed() == "ended by both"
    assert connection.closed


async def test_a_refused_upgrade_gives_its_status(server: ScriptedServer, device: Any) -> None:
    connection = await server.connect()
    there = await device.accept()
    connection.ask_upgrade()
    await there.head()
    await there.send(b"HTTP/1.1 503 Busy\r\n\r\n")
    assert await connection.wait_upgrade() == 503


async def test_bytes_before_the_upgrade_answer_are_kept_and_recorded(
    server: ScriptedServer, device: Any, record: Any
) -> None:
    connection = await server.connect()
    there = await device.accept()
    connection.ask_upgrade()
    await there.send(text("client/time", client_transmitted=5))
    await there.accept_upgrade()
    assert await connection.wait_upgrade() == 101
    assert [event.type for event in connection.early] == ["client/time"]
    assert connection.early == record.of(EarlyBytes)


async def test_it_greets_at_once_when_told_to(server: ScriptedServer, device: Any) -> None:
    _, there = await upgraded(server, device, answer_hello=True, connection_reason="playback")
    await there.send(encode_frame("text", HELLO))
    greeting = await next_message(there)
    assert greeting["type"] == "server/hello"
    assert greeting["payload"] == {
        "server_id": "rig-1",
        "name": "Rig 1",
        "version": 1,
        "active_roles": ["player@v1", "controller@v1", "metadata@v1"],
        "connection_reason": "playback",
    }


async def test_it_greets_twice_and_wrongly_when_told_to(
    server: ScriptedServer, device: Any
) -> None:
    connection, there = await upgraded(server, device)
    connection.greet()
    connection.greet(version=2)
    connection.greet(without="server_id")
    connection.greet({"odd": True})
    payloads = [(await next_message(there))["payload"] for _ in range(4)]
    assert payloads[0]["server_id"] == "rig-1"
    assert payloads[1]["version"] == 2
    assert "server_id" not in payloads[2]
    assert payloads[3] == {"odd": True}
    assert connection.greeted == 4


async def test_it_answers_the_clock_with_its_own(server: ScriptedServer, device: Any) -> None:
    connection, there = await upgraded(server, device, epoch_us=10**15)
    await there.send(text("client/time", client_transmitted=777))
    answer = await next_message(there)
    payload = answer["payload"]
    assert answer["type"] == "server/time"
    assert payload["client_transmitted"] == 777
    assert 10**15 <= payload["server_received"] <= payload["server_transmitted"]
    assert payload["server_transmitted"] <= connection.clock_us()


async def test_two_connections_have_clocks_that_cannot_be_confused(
    server: ScriptedServer, device: Any
) -> None:
    first, second = await server.connect(), await server.connect()
    assert second.clock_us() - first.clock_us() > 3_600_000_000
    assert first.server_id != second.server_id
    assert first.name != second.name


async def test_it_leaves_the_clock_unanswered_when_told_to(
    server: ScriptedServer, device: Any, record: Any
) -> None:
    connection, there = await upgraded(server, device, answer_time=False)
    await there.send(text("client/time", client_transmitted=1))
    assert await connection.expect("client/time") is not None
    assert record.of(Frame, lambda frame: frame.sender == "server") == []


@pytest.mark.parametrize("sent", ["soon", None, [1], {"a": 1}])
async def test_a_clock_question_that_is_none_is_left_unanswered(
    server: ScriptedServer, device: Any, record: Any, sent: Any
) -> None:
    connection, there = await upgraded(server, device)
    await there.send(text("client/time", client_transmitted=sent))
    assert await connection.expect("client/time") is not None
    assert record.of(Frame, lambda frame: frame.sender == "server") == []


async def test_it_answers_a_ping_with_the_same_payload(server: ScriptedServer, device: Any) -> None:
    _, there = await upgraded(server, device)
    await there.send(encode_frame("ping", bytes(range(125))))
    reader = FrameReader()
    frames: list[Any] = []
    while not frames:
        frames = reader.feed(await there.recv())
    assert (frames[0].opcode, frames[0].payload) == ("pong", bytes(range(125)))


async def test_a_device_that_asks_without_end_and_reads_nothing_costs_no_memory(
    server: ScriptedServer, device: Any
) -> None:
    connection, there = await upgraded(server, device)
    connection.half_frame()  # so that every answer waits
    pings = encode_frame("ping", bytes(125)) * 100
    for _ in range(20):
        await there.send(pings)
    await there.send(text("client/state"))
    assert await connection.expect("client/state") is not None
    assert connection.line.backlog < 66_000


async def test_half_a_frame_is_one_byte(server: ScriptedServer, device: Any, record: Any) -> None:
    connection, there = await upgraded(server, device)
    connection.half_frame()
    assert await there.exactly(1) == b"\x81"
    assert (await record.wait(LinkEffect)).fault == "stall"
    assert there.quiet()


async def test_a_drop_is_a_reset_and_a_fin_an_end(
    server: ScriptedServer, device: Any, record: Any
) -> None:
    first, one = await upgraded(server, device)
    second, two = await upgraded(server, device)
    first.drop()
    second.fin()
    assert await one.ending() == "reset"
    assert await two.ending() == "fin"
    assert [event.conn for event in record.of(TcpReset)] == [1]
    assert [event.conn for event in record.of(TcpFin)] == [2]


async def test_it_ends_in_order_when_the_device_does(
    server: ScriptedServer, device: Any, record: Any
) -> None:
    connection, there = await upgraded(server, device)
    await there.send(text("client/goodbye", reason="another_server") + encode_close(1000))
    there.sock.shutdown(1)
    assert await connection.expect_fin()
    assert await there.ending() == "fin"
    assert (await record.wait(ConnectionClosed)).reason == "ended by both"


async def test_messages_before_the_expected_one_are_passed_over(
    server: ScriptedServer, device: Any
) -> None:
    connection, there = await upgraded(server, device)
    await there.send(text("client/state") + text("client/command") + text("client/state"))
    assert await connection.expect("client/command") is not None
    assert await connection.expect("client/state") is not None
    assert await connection.expect("client/state", timeout=0.01) is None


async def test_any_broken_frame_can_be_sent(server: ScriptedServer, device: Any) -> None:
    connection, there = await upgraded(server, device)
    connection.send_text(b"\xff{")
    connection.send_frame(3, b"", masked=False)
    connection.send_raw(b"\x00")
    data = await there.exactly(6 + 2 + 2 + 1)
    assert data[:2] == b"\x81\x82"
    assert data[8:] == b"\x83\x00\x00"


async def test_an_open_connection_has_exchanged_hellos_with_a_real_websocket_server(
    record: Any,
) -> None:
    greetings: list[Any] = []
    done = asyncio.Event()

    async def be_a_device(connection: ServerConnection) -> None:
        await connection.send(HELLO.decode())
        greetings.append(json.loads(await connection.recv()))
        done.set()
        await connection.wait_closed()

    async with serve(be_a_device, "127.0.0.1", 0) as real:
        place = Place(real.sockets[0].getsockname()[1])
        async with Link(place, record.store.append) as link, ScriptedServer(link) as server:
            connection = await server.open(server_id="me")
            await asyncio.wait_for(done.wait(), 10)
            connection.close_frame(1001, "leaving")
            close = await connection.expect_frame("close")
            assert close is not None
            assert close.close_code == 1001
    assert greetings[0]["payload"]["server_id"] == "me"
    assert record.of(WireError) == []


async def test_opening_on_a_device_that_refuses_is_one_clear_error(
    server: ScriptedServer, device: Any
) -> None:
    opening = asyncio.ensure_future(server.open())
    there = await device.accept()
    await there.head()
    await there.send(b"HTTP/1.1 404 Not Found\r\n\r\n")
    with pytest.raises(ServerError, match=r"expected the upgrade answer 101 .* answered 404"):
        await opening


async def test_opening_on_a_device_that_never_greets_is_one_clear_error(
    server: ScriptedServer, device: Any
) -> None:
    opening = asyncio.ensure_future(server.open(timeout=0.5))
    await (await device.accept()).accept_upgrade()
    with pytest.raises(ServerError, match=r"no opening message within 0\.5 s"):
        await opening


async def test_leaving_the_server_closes_every_connection(
    server: ScriptedServer, device: Any, record: Any
) -> None:
    for _ in range(3):
        await upgraded(server, device)
    await server.aclose()
    assert [await there.ending() for there in device.sockets] == ["fin"] * 3
    assert len(record.of(ConnectionClosed)) == 3


async def test_closed_connections_are_not_kept(server: ScriptedServer, device: Any) -> None:
    for _ in range(20):
        (await server.connect()).drop()
    assert len(server.connections) == 1


async def test_the_server_lives_on_after_whatever_a_device_sends(
    server: ScriptedServer, device: Any
) -> None:
    for junk in (
        b"\x83\x00",
        b"\x81\x04\xff\xfe\xfd\xfc",
        encode_frame("text", b'{"type":7,"payload":[]}'),
        encode_frame("text", b'{"type":"client/time"}'),
        encode_close(7),
        b"\x82\x7f" + bytes([0, 0, 0, 0, 6]) + bytes(3) + bytes(100_000),
    ):
        connection, there = await upgraded(server, device, answer_hello=True)
        await there.send(junk)
        there.sock.close()
        assert await connection.wait_closed() is not None


class Place:
    def __init__(self, port: int) -> None:
        self.host, self.port, self.path = "127.0.0.1", port, "/sendspin"
