"""Each fault on a wire, as the other end's socket saw it."""

from __future__ import annotations

import asyncio
import socket
import struct
from itertools import pairwise
from typing import Any

import pytest

from rig.history.events import (
    ConnectionClosed,
    ConnectionOpened,
    EarlyBytes,
    Frame,
    LinkEffect,
    TcpFin,
    TcpReset,
    UpgradeAnswered,
    UpgradeAsked,
    WireError,
)
from rig.link import Link, Wire
from rig.protocol import encode_frame

pytestmark = pytest.mark.anyio

MASK = b"\x01\x02\x03\x04"
FRAME = encode_frame("text", b'{"type":"server/state","payload":{}}', mask=MASK)
STATE = encode_frame("text", b'{"type":"client/state","payload":{}}')


async def upgraded(link: Link, device: Any, **how: Any) -> tuple[Wire, Any]:
    wire = await link.dial(**how)
    wire.start()
    there = await device.accept()
    wire.send(link.request())
    await there.accept_upgrade()
    await there.until(lambda: wire.answered)
    return wire, there


def reset_by_peer(there: Any) -> None:
    """Make the double's close a RST."""
    there.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    there.sock.close()


async def test_a_conversation_is_recorded_on_both_sides(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device, server_id="me", epoch_us=5)
    wire.send(FRAME)
    await there.exactly(len(FRAME))
    await there.send(STATE)
    await record.wait(Frame, lambda frame: frame.type == "client/state")
    opened = record.events[0]
    assert isinstance(opened, ConnectionOpened)
    assert (opened.conn, opened.server_id, opened.epoch_us, opened.via) == (1, "me", 5, "direct")
    assert opened.peer == f"127.0.0.1:{device.place.port}"
    assert opened.local == f"127.0.0.1:{there.sock.getpeername()[1]}"
    assert [type(event) for event in record.events[1:3]] == [UpgradeAsked, UpgradeAnswered]
    assert [frame.sender for frame in record.of(Frame)] == ["server", "device"]


async def test_each_connection_has_its_own_number_id_and_epoch(link: Link, record: Any) -> None:
    for _ in range(3):
        await link.dial()
    opened = record.of(ConnectionOpened)
    assert [event.conn for event in opened] == [1, 2, 3]
    assert len({event.server_id for event in opened}) == 3
    assert {b.epoch_us - a.epoch_us for a, b in pairwise(opened)} == {100_000_000_000}


async def test_rst_is_a_reset_for_the_device(link: Link, device: Any, record: Any) -> None:
    wire, there = await upgraded(link, device)
    wire.rst()
    with pytest.raises(ConnectionResetError):
        await there.recv()
    assert [event.sender for event in record.of(TcpReset)] == ["server"]
    assert record.of(ConnectionClosed)[0].reason == "reset by the server"
    assert record.of(TcpFin) == []


async def test_rst_with_bytes_in_flight_is_a_reset_too(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    await there.send(STATE * 50)
    wire.rst()
    assert await there.ending() == "reset"
    assert [event.sender for event in record.of(TcpReset)] == ["server"]


async def test_rst_after_the_device_reset_is_not_recorded_as_ours(
    link: Link, device: Any, record: Any
) -> None:
    wire = await link.dial()  # never started: the reset is not read
    there = await device.accept()
    reset_by_peer(there)
    await there.until(lambda: wire.stream.dead)
    wire.rst()
    assert [event.sender for event in record.of(TcpReset)] == ["device"]


async def test_fin_is_an_end_for_the_device_and_leaves_its_half_open(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    wire.send(FRAME)
    wire.fin()
    assert await there.exactly(len(FRAME)) == FRAME
    assert await there.recv() == b""
    await there.send(STATE)
    await record.wait(Frame, lambda frame: frame.type == "client/state")
    there.sock.close()
    closed = await record.wait(ConnectionClosed)
    assert closed.reason == "ended by both"
    assert [event.sender for event in record.of(TcpFin)] == ["server", "device"]
    assert record.of(TcpReset) == []
    assert link.wires == {}


async def test_the_devices_reset_is_told_from_its_fin(link: Link, device: Any, record: Any) -> None:
    _, there = await upgraded(link, device)
    reset_by_peer(there)
    closed = await record.wait(ConnectionClosed)
    assert closed.reason == "reset by the device"
    assert [event.sender for event in record.of(TcpReset)] == ["device"]
    assert record.of(TcpFin) == []


async def test_what_the_device_sent_before_its_reset_is_recorded(
    link: Link, device: Any, record: Any
) -> None:
    wire = await link.dial()
    there = await device.accept()
    await there.send(STATE)
    reset_by_peer(there)
    wire.start()
    await record.wait(ConnectionClosed)
    assert [event.type for event in record.of(EarlyBytes)] == ["client/state"]


async def test_silence_towards_the_device_swallows_bytes_and_the_fin(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    wire.silence("to_device")
    wire.send(FRAME)
    wire.fin()
    await there.send(STATE)  # the other way is open
    await record.wait(Frame, lambda frame: frame.sender == "device")
    assert there.quiet()
    (effect,) = record.of(LinkEffect)
    assert (effect.fault, effect.value, effect.sender) == ("silence", len(FRAME), "server")
    wire.speak()
    assert await there.recv() == b""
    assert not record.of(Frame, lambda frame: frame.sender == "server")


async def test_silence_towards_the_server_swallows_what_the_device_says(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    heard: list[bytes] = []
    wire.on_bytes = heard.append
    wire.silence("to_server")
    await there.send(STATE)
    await record.wait(Frame, lambda frame: frame.type == "client/state")
    assert heard == []
    wire.speak()
    await there.send(FRAME)
    await record.wait(Frame, lambda frame: frame.type == "server/state")
    assert heard == [FRAME]
    (effect,) = record.of(LinkEffect)
    assert (effect.fault, effect.sender) == ("silence", "device")


async def test_a_stall_is_one_byte_and_no_more(link: Link, device: Any, record: Any) -> None:
    wire, there = await upgraded(link, device)
    wire.stall()
    wire.send(FRAME)
    effect = await record.wait(LinkEffect)
    assert (effect.fault, effect.value) == ("stall", 1)
    assert await there.recv() == b"\x81"
    assert there.quiet()
    wire.unstall()
    rest = encode_frame("text", mask=bytes(4))[1:]
    assert await there.exactly(len(rest) + len(FRAME)) == rest + FRAME
    assert record.of(WireError) == []


async def test_a_stall_may_end_in_a_fin(link: Link, device: Any, record: Any) -> None:
    wire, there = await upgraded(link, device)
    wire.stall()
    wire.fin()
    assert await there.recv() == b"\x81"
    assert await there.recv() == b""
    (event,) = record.of(WireError)
    assert (event.sender, event.text) == ("server", "ended inside a frame")


async def test_a_cut_lets_the_beginning_of_a_frame_through_and_resets(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    wire.cut(7, "fin")
    wire.send(FRAME)
    assert await there.exactly(7) == FRAME[:7]
    assert await there.recv() == b""
    assert [event.value for event in record.of(LinkEffect)] == [7]


@pytest.mark.parametrize("then", ["rst", "silence"])
async def test_a_cut_ends_as_it_was_told_to(
    link: Link, device: Any, record: Any, then: Any
) -> None:
    wire, there = await upgraded(link, device)
    wire.cut(3, then)
    wire.send(FRAME)
    wire.send(FRAME)
    if then == "silence":
        assert await there.exactly(3) == FRAME[:3]
        await there.send(STATE)
        await record.wait(Frame, lambda frame: frame.sender == "device")
        assert there.quiet()
    else:
        assert await there.ending() == "reset"
    assert bool(record.of(TcpReset)) == (then == "rst")


async def test_a_closed_window_stops_the_device_and_reopens(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device, receive_buffer=2_048)
    there.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    wire.closed_window()
    sending = asyncio.ensure_future(there.send(STATE * 2_000))
    effect = await record.wait(LinkEffect, timeout=30)
    assert (effect.fault, effect.sender) == ("closed_window", "device")
    assert wire.stream.window == 0
    # tcpi_snd_wnd at offset 228 (Linux 5.4 on): what the device's own TCP was told.
    info = there.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)
    assert struct.unpack_from("I", info, 228)[0] == 0
    assert not sending.done()
    wire.reopen()
    await asyncio.wait_for(sending, 30)
    await record.wait(Frame, timeout=30)


async def test_a_reset_behind_a_closed_window_is_noticed(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    wire.closed_window()
    reset_by_peer(there)
    closed = await record.wait(ConnectionClosed)
    assert closed.reason == "reset by the device"


async def test_a_delay_makes_bytes_late_and_keeps_their_order(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    wire.delay(80)
    loop = asyncio.get_running_loop()
    began = loop.time()
    wire.send(FRAME)
    wire.send(b"\x8a\x80" + MASK)
    wire.delay(0)
    wire.send(FRAME)
    assert await there.exactly(2 * len(FRAME) + 6) == FRAME + b"\x8a\x80" + MASK + FRAME
    assert loop.time() - began >= 0.08


async def test_a_delay_proves_itself_by_what_it_measured(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    wire.delay(30, "to_device")
    wire.send(FRAME)
    await there.exactly(len(FRAME))
    (effect,) = record.of(LinkEffect)
    assert (effect.fault, effect.unit, effect.sender) == ("delay", "ms", "server")
    assert effect.value >= 30


async def test_a_delay_towards_the_server_holds_its_events_back(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    heard: list[str] = []
    done = asyncio.Event()

    def listen(entry: Any) -> None:
        heard.append(entry.event.tag)
        done.set()

    wire.on_event = listen
    wire.delay(40, "to_server")
    await there.send(STATE)
    await record.wait(Frame, lambda frame: frame.type == "client/state")
    assert heard == []
    await asyncio.wait_for(done.wait(), 10)
    assert heard == ["frame"]


async def test_a_trickle_passes_a_few_bytes_at_a_time(link: Link, device: Any, record: Any) -> None:
    wire, there = await upgraded(link, device)
    wire.trickle(2_000)
    data = encode_frame("binary", bytes(500), mask=MASK)
    wire.send(data)
    chunks = []
    while sum(map(len, chunks)) < len(data):
        chunks.append(await there.recv())
    assert b"".join(chunks) == data
    assert len(chunks) > 1
    effect = await record.wait(LinkEffect)
    assert (effect.fault, effect.unit) == ("trickle", "bytes/s")
    assert 0 < effect.value <= 2_400


FAULTS = {
    "rst": lambda wire: wire.rst(),
    "fin": lambda wire: wire.fin(),
    "stall": lambda wire: wire.stall(),
    "silence": lambda wire: wire.silence(),
    "cut": lambda wire: wire.cut(1),
    "closed_window": lambda wire: wire.closed_window(),
    "delay": lambda wire: wire.delay(60_000),
    "trickle": lambda wire: wire.trickle(0.01),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_swallowed_fault_leaves_the_connection_as_it_was(
    link: Link, device: Any, record: Any, fault: str
) -> None:
    link.swallow = {fault}
    wire, there = await upgraded(link, device)
    FAULTS[fault](wire)
    wire.send(FRAME)
    assert await there.exactly(len(FRAME)) == FRAME
    await there.send(STATE)
    await record.wait(Frame, lambda frame: frame.sender == "device")
    assert record.of(LinkEffect) == []
    assert record.of(TcpReset) == record.of(TcpFin) == []


async def test_close_with_unread_bytes_is_recorded_as_the_reset_it_is(
    link: Link, device: Any, record: Any
) -> None:
    wire = await link.dial()
    there = await device.accept()
    await there.send(STATE)
    await there.until(lambda: wire.stream.unread)
    wire.close()
    with pytest.raises(ConnectionResetError):
        await there.recv()
    assert [event.sender for event in record.of(TcpReset)] == ["server"]


async def test_a_closed_wire_takes_nothing_more(link: Link, device: Any, record: Any) -> None:
    wire, _ = await upgraded(link, device)
    wire.close()
    before = len(record.events)
    for act in (wire.close, wire.rst, wire.fin, wire.stall, wire.unstall, wire.reopen, wire.speak):
        act()
    wire.send(FRAME)
    wire.closed_window()
    assert len(record.events) == before


async def test_a_corked_wire_sends_all_in_one_piece_with_the_stall(
    link: Link, device: Any, record: Any
) -> None:
    wire, there = await upgraded(link, device)
    wire.cork()
    wire.send(FRAME)
    wire.send(FRAME)
    assert there.quiet()
    wire.stall()
    assert await there.recv() == FRAME + FRAME + b"\x81"
    assert (await record.wait(LinkEffect)).fault == "stall"
    assert len(record.of(Frame)) == 2


async def test_a_corked_wire_keeps_nothing_back_at_its_end(link: Link, device: Any) -> None:
    wire, there = await upgraded(link, device)
    wire.cork()
    wire.send(FRAME)
    wire.fin()
    assert await there.exactly(len(FRAME)) == FRAME
    assert await there.ending() == "fin"


async def test_a_stall_that_is_swallowed_uncorks_all_the_same(device: Any, record: Any) -> None:
    async with Link(device.place, record.store.append, swallow=frozenset({"stall"})) as link:
        wire, there = await upgraded(link, device)
        wire.cork()
        wire.send(FRAME)
        wire.stall()
        assert await there.exactly(len(FRAME)) == FRAME
