"""A device that misbehaves: a named finding, bounded memory, and the server lives on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rig.checks import Verdict, get_check
from rig.checks.stretch import Stretch, run_check
from rig.history import History
from rig.history.events import Frame, ServerWarned, UpgradeAnswered, WireError
from rig.link import Link
from rig.protocol import encode_close, encode_frame
from rig.servers import ScriptedServer
from rig.servers.engine import CLOSE_S, dialling, hang_up
from rig.servers.played import PlayedServer

pytestmark = pytest.mark.anyio

Misbehave = Callable[[Any], Awaitable[None]]

HELLO = {
    "client_id": "bad-1",
    "name": "bad",
    "version": 1,
    "supported_roles": ["metadata@v1"],
}
MB = 1_000_000


def message(kind: object, payload: object) -> bytes:
    return encode_frame("text", json.dumps({"type": kind, "payload": payload}).encode())


@pytest.fixture(params=["scripted", "reference"])
async def server(link: Link, request: pytest.FixtureRequest) -> AsyncIterator[ScriptedServer]:
    made = PlayedServer(link) if request.param == "reference" else ScriptedServer(link)
    async with made as server:
        yield server


async def _greeted(device: Any, server: ScriptedServer) -> tuple[Any, Any]:
    connection = await server.connect(answer_hello=True)
    end = await device.accept()
    connection.ask_upgrade()
    await end.accept_upgrade()
    await end.send(message("client/hello", HELLO))
    assert await connection.wait_hello(10) is not None
    return connection, end


async def _lives_on(device: Any, server: ScriptedServer) -> None:
    connection, _end = await _greeted(device, server)
    assert not connection.closed


def _failed(record: Any, check: str) -> str:
    outcome = run_check(get_check(check), Stretch(History(record.store.path), 1))
    assert outcome.verdict is Verdict.FAIL, outcome
    return outcome.message


async def test_what_it_says_before_its_hello_is_named(device, record, server) -> None:
    connection = await server.connect(answer_hello=True)
    end = await device.accept()
    connection.ask_upgrade()
    await end.accept_upgrade()
    await end.send(message("client/state", {"state": "synchronized"}))
    await end.send(message("client/hello", HELLO))
    await record.wait(Frame, lambda frame: frame.type == "client/hello")
    assert "client/state" in _failed(record, "opening_first")
    await _lives_on(device, server)


async def test_a_device_that_never_talks_is_waited_for_and_left(device, record, server) -> None:
    connection = await server.connect(answer_hello=True)
    end = await device.accept()
    assert await connection.upgrade(0.05) is None
    connection.close()
    assert await end.ending() in ("fin", "reset")
    await _lives_on(device, server)


@pytest.mark.parametrize(
    ("sent", "check", "words"),
    [
        (encode_frame("text", b'{"type":"\xff\xfe"}'), "speaks_websocket", "not UTF-8"),
        (encode_close(1005), "speaks_websocket", "1005"),
        (b"\x88\x01\x03", "speaks_websocket", "one byte"),
        (b"\x83\x00", "speaks_websocket", "opcode"),
        (message(7, {}), "messages_known", "its type is 7"),
        (message("client/time", "soon"), "messages_known", "its payload is 'soon'"),
        (message("client/time", {"client_transmitted": "now"}), None, ""),
        (message("client/dance", {}), "messages_known", "client/dance"),
        (encode_frame("text", b"[1,2"), "messages_known", "no JSON object"),
    ],
)
async def test_each_kind_of_nonsense_has_its_name(
    device, record, server, sent: bytes, check: str | None, words: str
) -> None:
    _connection, end = await _greeted(device, server)
    await end.send(sent)
    await record.wait(
        Frame if check != "speaks_websocket" else WireError,
        lambda event: event.sender == "device" and getattr(event, "type", "") != "client/hello",
    )
    if check is not None:
        assert words in _failed(record, check)
    with contextlib.suppress(OSError):
        end.sock.close()
    await _lives_on(device, server)


async def test_a_frame_of_a_hundred_megabytes_is_kept_nowhere(device, record, server) -> None:
    connection, end = await _greeted(device, server)
    before = _rss()
    await end.send(b"\x82\x7f" + (100 * MB).to_bytes(8, "big"))
    part, sent = bytes(MB), 0
    try:
        while sent < 100:
            await end.send(part)
            sent += 1
    except OSError:
        pass  # the server would not hear it to its end: Close 1009
    if sent == 100:
        frame = await record.wait(Frame, lambda frame: frame.size == 100 * MB, timeout=30)
        assert len(frame.head) <= 64
    assert _rss() - before < 40 * MB
    assert max(connection.line.backlog, 0) < 5 * MB
    await _lives_on(device, server)


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_pings_without_end_are_answered_only_as_fast_as_it_reads(
    device, record, server
) -> None:
    connection, end = await _greeted(device, server)
    ping = encode_frame("ping", bytes(125))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            for _ in range(300):
                await end.send(ping * 100)
    assert connection.line.backlog < 5 * MB
    await _lives_on(device, server)


async def test_a_device_that_reads_nothing_does_not_hold_up_the_closing(device) -> None:
    session = dialling()
    opening = asyncio.create_task(
        session.ws_connect(f"http://{device.place.host}:{device.place.port}")
    )
    end = await device.accept()
    await end.accept_upgrade()
    ws = await opening
    with contextlib.suppress(TimeoutError):
        while True:  # until nothing more goes out
            await asyncio.wait_for(ws.send_bytes(bytes(MB)), 1)
    async with asyncio.timeout(CLOSE_S + 20):
        await hang_up(session)


async def test_a_redirect_is_not_followed(device, record, server) -> None:
    connection = await server.connect()
    end = await device.accept()
    connection.ask_upgrade()
    await end.head()
    await end.send(
        b"HTTP/1.1 302 Found\r\nLocation: ws://192.0.2.1/elsewhere\r\nContent-Length: 0\r\n\r\n"
    )
    assert await connection.wait_upgrade(10) == 302
    end.sock.close()
    await connection.wait_closed(10)
    assert len(device.sockets) == 1
    assert [answered.status for answered in record.of(UpgradeAnswered)] == [302]
    await _lives_on(device, server)


async def test_a_reference_server_says_what_it_thinks_of_it(device, record, link) -> None:
    async with PlayedServer(link) as server:
        _connection, end = await _greeted(device, server)
        await end.send(message("client/state", "nonsense"))
        await record.wait(ServerWarned, lambda warned: "malformed client/state" in warned.text)
