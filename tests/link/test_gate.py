"""The gate: a real server's bytes, let through when told."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.link import Link, Wire
from rig.link.gate import Gate
from rig.link.relay import HIGH

HEAD = b"GET /sendspin HTTP/1.1\r\nHost: rig\r\n\r\n"


def _gate() -> tuple[Gate, bytearray]:
    gate, out = Gate(), bytearray()
    gate.passes = out.extend
    return gate, out


def test_nothing_passes_a_closed_gate() -> None:
    gate, out = _gate()
    gate.feed(HEAD)
    assert (bytes(out), gate.held) == (b"", len(HEAD))


def test_the_head_passes_alone_and_what_follows_waits() -> None:
    gate, out = _gate()
    gate.let_head()
    gate.feed(HEAD[:10])
    gate.feed(HEAD[10:] + b"\x81\x00")
    assert bytes(out) == HEAD
    gate.open()
    assert bytes(out) == HEAD + b"\x81\x00"


def test_half_a_head_passes_and_the_rest_on_demand() -> None:
    gate, out = _gate()
    gate.let_half_head()
    gate.feed(HEAD)
    assert bytes(out) == HEAD[: len(HEAD) // 2]
    gate.let_head()
    assert bytes(out) == HEAD


@given(st.binary(max_size=80), st.lists(st.integers(1, 40), max_size=12))
def test_no_byte_is_lost_or_altered_whatever_the_pieces(rest: bytes, sizes: list[int]) -> None:
    gate, out = _gate()
    data, given_ = HEAD + rest, 0
    for n, size in enumerate(sizes):
        gate.feed(data[given_ : given_ + size])
        given_ += size
        if n == 3:
            gate.let_head()
    gate.feed(data[given_:])
    gate.open()
    assert bytes(out) == data
    assert gate.held == 0


@pytest.mark.anyio
async def test_a_server_that_talks_on_at_a_closed_gate_is_not_read_without_bound(
    device, link: Link
) -> None:
    door = await link.door(server_id="s")
    assert isinstance(door.wire, Wire)
    loop = asyncio.get_running_loop()
    with socket.socket() as server:
        server.setblocking(False)
        await loop.sock_connect(server, ("127.0.0.1", door.port))
        relay = await door.join()
        relay.start()
        end = await device.accept()
        sending = asyncio.ensure_future(loop.sock_sendall(server, HEAD + b"x" * 20_000_000))
        await end.until(lambda: "backlog" in relay.server._paused)
        assert HIGH < door.gate.held < HIGH + 65_537
        assert end.quiet()
        door.gate.open()
        received = 0
        while received < 20_000_000 + len(HEAD):
            received += len(await end.recv())
        await sending
