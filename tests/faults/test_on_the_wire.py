"""Each fault as the device's socket sees it, with its proof; and none when it was made to miss."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from rig.errors import FaultError
from rig.faults import Proof, endings, lasting, strike
from rig.history import now_ns
from rig.history.events import FaultAsked, FaultSeen, SocketSeen
from rig.protocol import encode_frame

pytestmark = pytest.mark.anyio

STATE = encode_frame("text", json.dumps({"type": "client/state", "payload": {}}).encode())


async def together[T](fault: Any, device_side: Any) -> tuple[Proof | None, T]:
    """The fault, and what the device's side of it comes to."""
    return await asyncio.gather(fault, device_side)


def proven(record: Any, proof: Proof | None) -> bool:
    """Whether the history has the fault asked, seen, and what proves it."""
    (asked,) = record.of(FaultAsked)
    (seen,) = record.of(FaultSeen)
    return proof is not None and asked.id == seen.id and seen.evidence == proof.evidence != ()


async def test_rst_reaches_the_device_as_a_reset(ground):
    connection, there = await ground.opened()
    proof, ending = await together(strike("rst", ground.target(connection)), there.ending())
    assert ending == "reset"
    assert proven(ground.record, proof)


async def test_fin_reaches_the_device_as_an_end(ground):
    connection, there = await ground.opened()
    proof, ending = await together(strike("fin", ground.target(connection)), there.ending())
    assert ending == "fin"
    assert proven(ground.record, proof)


async def test_cut_lets_so_many_bytes_through_and_resets(ground):
    connection, there = await ground.opened()
    got = b""

    async def device_side() -> str:
        nonlocal got
        try:
            while more := await there.recv():
                got += more
        except ConnectionResetError:
            return "reset"
        return "fin"

    proof, ending = await together(strike("cut", ground.target(connection), keep=2), device_side())
    assert ending == "reset"
    assert len(got) in (0, 2)  # a reset may overtake what the receiver has not read yet
    assert proof is not None
    assert "2 bytes" in proof.how


async def test_close_sends_a_close_frame_and_ends_when_the_device_does(ground):
    connection, there = await ground.opened()

    async def device_side() -> bytes:
        head = await there.exactly(2)
        there.sock.close()
        return head

    proof, head = await together(strike("close", ground.target(connection)), device_side())
    assert head[0] == 0x88
    assert proven(ground.record, proof)


async def test_stall_is_one_byte_and_no_more(ground):
    connection, there = await ground.opened()
    proof, byte = await together(strike("stall", ground.target(connection)), there.exactly(1))
    connection.ping(b"held back")
    assert byte == b"\x81"
    assert proven(ground.record, proof)
    assert there.quiet()


async def test_silence_swallows_what_is_sent(ground):
    connection, there = await ground.opened()

    async def speak() -> None:
        connection.ping(b"unheard")

    proof = await strike("silence", ground.target(connection, act=speak))
    assert proven(ground.record, proof)
    assert there.quiet()


async def test_silence_one_way_leaves_the_other_way_open(ground):
    connection, there = await ground.opened()

    async def device_speaks() -> None:
        await there.send(STATE)

    proof = await strike(
        "silence", ground.target(connection, act=device_speaks), direction=2, within=5
    )
    connection.ping(b"heard")
    assert proven(ground.record, proof)
    assert (await there.exactly(1))[0] == 0x89


async def test_a_closed_window_is_seen_when_bytes_lie_unread(ground):
    connection, there = await ground.opened()
    done = asyncio.Event()

    async def flood() -> None:
        while not done.is_set():
            try:
                await asyncio.wait_for(there.send(STATE * 2_000), 0.2)
            except TimeoutError:
                return

    async def act() -> None:
        task.append(asyncio.ensure_future(flood()))

    task: list[asyncio.Future[None]] = []
    proof = await strike("closed-window", ground.target(connection, act=act), within=20)
    done.set()
    await task[0]
    assert proven(ground.record, proof)


async def test_delay_is_measured(ground):
    connection, there = await ground.opened()
    sent = now_ns()

    async def speak() -> None:
        connection.ping(b"late")

    proof, _ = await together(
        strike("delay", ground.target(connection, act=speak), ms=80), there.exactly(1)
    )
    assert proven(ground.record, proof)
    assert now_ns() - sent >= 80_000_000


async def test_trickle_is_measured(ground):
    connection, there = await ground.opened()

    async def speak() -> None:
        connection.send_text("x" * 60)

    proof, frame = await together(
        strike("trickle", ground.target(connection, act=speak), rate=400, within=10),
        there.exactly(66),
    )
    assert len(frame) == 66
    assert proven(ground.record, proof)


async def test_no_upgrade_opens_and_says_nothing(ground):
    proof, there = await together(strike("no-upgrade", ground.target()), ground.device.accept())
    assert proven(ground.record, proof)
    assert there.quiet()


async def test_no_hello_upgrades_and_does_not_greet(ground):
    async def device_side() -> Any:
        there = await ground.device.accept()
        await there.accept_upgrade()
        await there.send(encode_frame("text", b'{"type":"client/hello","payload":{}}'))
        return there

    proof, there = await together(strike("no-hello", ground.target()), device_side())
    assert proven(ground.record, proof)
    await ground.server.connections[0].wait_hello()
    assert there.quiet()


async def test_a_storm_is_seen_by_its_ends(ground):
    proof = await strike("storm", ground.target(), connections=8, seed=5)
    assert proven(ground.record, proof)
    assert not ground.server.connections


@pytest.mark.parametrize(("arrive", "seen"), [(6, True), (8, False), (0, False)])
async def test_a_full_mailbox_is_seen_by_the_states_that_are_missing(ground, arrive, seen):
    connection, there = await ground.opened()

    async def states() -> None:
        await there.send(STATE * arrive)

    proof = await strike("queue-full", ground.target(connection, act=states), within=0.3)
    assert ground.board.asked == 8
    assert (proof is not None) is seen


async def test_a_board_that_cannot_talk_is_told_how_it_could(ground):
    connection, _ = await ground.opened()
    ground.board.can_talk = False
    with pytest.raises(FaultError, match="talk = "):
        await strike("queue-full", ground.target(connection))


def socket_line(ground: Any, op: str, fd: int) -> None:
    ground.record.store.append(SocketSeen(t=now_ns(), board="double", op=op, line=1, fd=fd))


@pytest.mark.parametrize(("closed", "opened", "seen"), [(57, 57, True), (57, 58, False)])
async def test_a_recycled_number_is_seen_in_the_serial_log(ground, closed, opened, seen):
    connection, _ = await ground.opened()

    async def drop() -> None:
        socket_line(ground, "closed", closed)
        socket_line(ground, "opened", opened)

    proof = await strike("recycle", ground.target(connection, act=drop), within=0.3)
    assert (proof is not None) is seen


async def test_a_recycled_number_that_the_log_hides_is_said_to_be_inferred(ground):
    waiting = await ground.server.connect()
    waiting.ask_upgrade()

    async def drop() -> None:
        await (await ground.device.accept()).accept_upgrade()

    proof = await strike("recycle", ground.target(waiting, act=drop, tells_sockets=False))
    assert proof is not None
    assert proof.how.startswith("inferred")


async def test_nothing_is_recycled_when_the_waiting_one_is_never_served(ground):
    waiting = await ground.server.connect()

    async def drop() -> None:
        await ground.device.accept()

    target = ground.target(waiting, act=drop, tells_sockets=False)
    assert await strike("recycle", target, within=0.3) is None


async def test_an_aimed_fault_needs_something_to_aim_at(ground):
    with pytest.raises(FaultError, match="aimed at a connection"):
        await strike("rst", ground.target())


AIMED = ("rst", "fin", "cut", "stall", "silence", "closed-window", "delay", "trickle", "close")


@pytest.mark.parametrize(
    "swallow", [frozenset({"*"}), *(frozenset({n}) for n in AIMED)], ids=lambda s: min(s)
)
async def test_a_fault_made_to_miss_is_asked_and_never_seen(ground, swallow, monkeypatch):
    monkeypatch.setattr(endings, "PROOF_S", 0.3)
    monkeypatch.setattr(lasting, "STALL_PROOF_S", 0.3)
    connection, _ = await ground.opened()
    name = "rst" if "*" in swallow else min(swallow)
    within = {"within": 0.2} if name in ("silence", "closed-window", "delay", "trickle") else {}

    async def speak() -> None:
        connection.ping(b"passes")

    target = ground.target(connection, act=speak)
    assert await strike(name, target, **within) is None
    assert len(ground.record.of(FaultAsked)) == 1
    assert ground.record.of(FaultSeen) == []
    assert not connection.closed or name in ("cut",)


@pytest.mark.parametrize(
    ("swallow", "name"),
    [
        (frozenset({name}), name)
        for name in ("storm", "no-upgrade", "no-hello", "queue-full", "recycle")
    ],
)
async def test_a_fault_that_the_server_makes_is_left_undone_when_made_to_miss(ground, name):
    assert await strike(name, ground.target()) is None
    assert ground.record.of(FaultSeen) == []
    assert not ground.server.connections
