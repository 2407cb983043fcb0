"""aiosendspin in the scripted server's place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rig.errors import ServerError
from rig.history.events import ConnectionClosed, Frame, ServerWarned, TcpReset
from rig.link import Link
from rig.protocol import encode_frame
from rig.servers import Unable
from rig.servers.played import PlayedServer

pytestmark = pytest.mark.anyio

HELLO = {
    "client_id": "dev-1",
    "name": "double",
    "version": 1,
    "supported_roles": ["player@v1"],
    "player@v1_support": {
        "supported_formats": [
            {"codec": "pcm", "channels": 2, "sample_rate": 48000, "bit_depth": 16}
        ],
        "buffer_capacity": 1000000,
        "supported_commands": ["volume", "mute"],
    },
}
STATE = {"state": "synchronized", "player": {"volume": 50, "muted": False}}


def message(kind: str, payload: dict[str, Any]) -> bytes:
    return encode_frame("text", json.dumps({"type": kind, "payload": payload}).encode())


@pytest.fixture
async def server(link: Link) -> AsyncIterator[PlayedServer]:
    async with PlayedServer(link) as server:
        yield server


async def test_it_asks_and_greets_when_told_and_not_before(device, record, server) -> None:
    connection = await server.connect()
    end = await device.accept()
    assert end.quiet()
    connection.ask_upgrade()
    await end.accept_upgrade()
    await end.send(message("client/hello", HELLO))
    hello = await connection.wait_hello()
    assert hello is not None
    assert connection.generation == "legacy"
    assert end.quiet()
    connection.greet()
    greeted = await record.wait(Frame, lambda frame: frame.type == "server/hello")
    assert greeted.message["payload"]["server_id"] == connection.server_id


async def test_it_does_to_the_device_what_a_scenario_asks(device, record, server) -> None:
    connection = await server.connect(answer_hello=True)
    end = await device.accept()
    connection.ask_upgrade()
    await end.accept_upgrade()
    await end.send(message("client/hello", HELLO))
    await record.wait(Frame, lambda frame: frame.type == "server/hello")
    await end.send(message("client/state", STATE))
    assert await connection.served() is not None
    connection.command_volume(31)
    command = await record.wait(Frame, lambda frame: frame.type == "server/command")
    assert command.message["payload"]["player"]["volume"] == 31
    connection.ping(b"are you there")
    ping = await record.wait(Frame, lambda frame: frame.opcode == "ping")
    assert bytes.fromhex(ping.head) == b"are you there"
    connection.say()
    assert await record.wait(Frame, lambda f: f.type == "group/update" and "Rig " in (f.text or ""))
    connection.close_frame()
    close = await record.wait(Frame, lambda frame: frame.opcode == "close")
    assert close.close_code == 1000


async def test_each_connection_is_another_server_with_another_clock(device, server) -> None:
    first, second = await server.connect(), await server.connect()
    assert first.server_id != second.server_id
    assert abs(first.line.epoch_us - second.line.epoch_us) > 10**9


async def test_a_drop_ends_its_server_and_nothing_is_dialled_again(
    device, record, server, link
) -> None:
    connection = await server.connect()
    end = await device.accept()
    connection.ask_upgrade()
    await end.head()
    connection.drop()
    assert await end.ending() == "reset"
    await record.wait(ConnectionClosed)
    await server.retired()
    assert connection.engine.server is None
    assert not link.wires
    assert len(record.of(TcpReset)) == 1


async def test_half_a_request_is_let_through(device, server) -> None:
    connection = await server.connect()
    end = await device.accept()
    connection.half_request()
    half = await end.recv()
    assert half.startswith(b"GET /sendspin")
    assert b"\r\n\r\n" not in half


async def test_its_warnings_are_events_of_their_connection(device, record, server) -> None:
    other = await server.connect()
    connection = await server.connect(answer_hello=True)
    await device.accept()
    end = await device.accept()
    connection.ask_upgrade()
    await end.accept_upgrade()
    await end.send(message("client/hello", HELLO))
    warned = await record.wait(ServerWarned, lambda warned: warned.compliance)
    assert warned.conn == connection.conn != other.conn


@pytest.mark.parametrize(
    "ask",
    [
        lambda connection: connection.send_text("{"),
        lambda connection: connection.send("server/time", {}),
        lambda connection: connection.send_raw(b"x"),
        lambda connection: connection.greet(version=2),
        lambda connection: connection.close_frame(1002),
        lambda connection: connection.ask_upgrade(b"GET / HTTP/1.1\r\n\r\n"),
    ],
)
async def test_what_a_real_server_never_does_is_said_to_be_impossible(device, server, ask) -> None:
    connection = await server.connect()
    with pytest.raises(Unable, match="aiosendspin's server cannot"):
        ask(connection)


async def test_a_device_that_does_not_accept_is_an_error(device, server) -> None:
    device.listener.close()
    with pytest.raises(ServerError, match="cannot be reached"):
        await server.connect()
