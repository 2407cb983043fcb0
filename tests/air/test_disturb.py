from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.air.client import Air
from rig.air.disturb import damaged, fate
from rig.air.protocol import Disturb

BOARD = "kitchen"


def disturb(**fields: Any) -> Disturb:
    return Disturb(board=BOARD, seconds=30, **fields)


def test_the_same_seed_gives_the_same_fates() -> None:
    command = disturb(loss=0.2, delay_ms=50, jitter_ms=20, reorder=0.1, duplicate=0.1, corrupt=0.1)
    first, second = random.Random(3), random.Random(3)
    assert [fate(command, first) for _ in range(50)] == [fate(command, second) for _ in range(50)]


def test_the_shares_are_what_they_say() -> None:
    rng = random.Random(1)
    command = disturb(loss=0.2, delay_ms=10, reorder=0.25, duplicate=0.5, corrupt=0.1)
    fates = [fate(command, rng) for _ in range(4000)]
    kept = [each for each in fates if not each.lost]
    assert sum(each.lost for each in fates) / len(fates) == pytest.approx(0.2, abs=0.03)
    assert sum(each.overtakes for each in kept) / len(kept) == pytest.approx(0.25, abs=0.04)
    assert sum(each.doubled for each in kept) / len(kept) == pytest.approx(0.5, abs=0.04)
    assert sum(each.damaged_bit is not None for each in kept) / len(kept) == pytest.approx(
        0.1, abs=0.03
    )


def test_jitter_stays_within_its_bounds() -> None:
    rng = random.Random(1)
    waits = [fate(disturb(delay_ms=50, jitter_ms=30), rng).delay_s for _ in range(500)]
    assert min(waits) >= 0.020
    assert max(waits) <= 0.080


@given(st.binary(min_size=21, max_size=200), st.floats(0, 1, exclude_max=True))
def test_damage_is_one_bit_behind_the_ip_header(packet: bytes, where: float) -> None:
    packet = b"\x45" + packet[1:]
    changed = damaged(packet, where)
    assert changed[:20] == packet[:20]
    difference = int.from_bytes(changed, "big") ^ int.from_bytes(packet, "big")
    assert difference.bit_count() == 1


@given(st.binary(max_size=60), st.floats(0, 1, exclude_max=True))
def test_damage_never_changes_a_packets_length(packet: bytes, where: float) -> None:
    assert len(damaged(packet, where)) == len(packet)


async def echo(server: socket.socket, device: socket.socket, times: int) -> float:
    """Send a byte each way, `times` times; seconds that it took."""
    loop = asyncio.get_running_loop()
    for sock in (server, device):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    begun = loop.time()
    async with asyncio.timeout(20):
        for _ in range(times):
            await loop.sock_sendall(server, b"?")
            assert await loop.sock_recv(device, 1) == b"?"
            await loop.sock_sendall(device, b"!")
            assert await loop.sock_recv(server, 1) == b"!"
    return loop.time() - begun


def play(lab: Any, command: Disturb, times: int = 5) -> tuple[float, dict[str, int]]:
    async def run() -> tuple[float, dict[str, int]]:
        server, device = await lab.connected()
        with server, device:
            async with Air({BOARD: lab.device}) as air:
                done = await air.ask(command)
                took = await echo(server, device, times)
                return took, await air.counts(done.effect or 0)

    return asyncio.run(run())


@pytest.mark.root
def test_packets_are_late_each_way(lab: Any) -> None:
    took, counts = play(lab, disturb(delay_ms=40))
    assert took >= 5 * 0.080
    assert counts["delayed"] >= 10
    assert counts["to_device"] > 0
    assert counts["to_server"] > 0


@pytest.mark.root
def test_lost_packets_are_sent_again_by_tcp(lab: Any) -> None:
    _, counts = play(lab, disturb(loss=0.3, seed=4), times=8)
    assert counts["lost"] > 0


@pytest.mark.root
def test_damaged_packets_are_not_taken_for_sound_ones(lab: Any) -> None:
    _, counts = play(lab, disturb(corrupt=0.3, seed=4), times=8)
    assert counts["damaged"] > 0


@pytest.mark.root
def test_doubled_packets_arrive_twice_and_do_no_harm(lab: Any, tcpdump: Any) -> None:
    tcpdump.start()
    _, counts = play(lab, disturb(duplicate=1, way="to_device"), times=3)
    assert counts["doubled"] >= 3
    data = [line for line in tcpdump.packets() if "> 10.55.0.2.8928" in line and "length 1" in line]
    assert len(data) >= 6


@pytest.mark.root
def test_packets_overtake_each_other(lab: Any) -> None:
    _, counts = play(lab, disturb(delay_ms=30, reorder=0.5, seed=2), times=6)
    assert counts["overtaking"] > 0
    assert counts["delayed"] > 0
