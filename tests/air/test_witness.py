"""Every fault on packets as another tool sees it: tcpdump on the host's end of the link."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rig.air.client import Air
from rig.air.protocol import (
    AnyCommand,
    ArpHole,
    Disturb,
    Drop,
    Flow,
    Forge,
    Forgery,
    LinkDown,
    Rate,
    Refusal,
    Refuse,
    Shrink,
    SynFlood,
)

pytestmark = pytest.mark.root

BOARD = "kitchen"
NOWHERE = "02:73:72:69:67:6d"
TO_DEVICE, TO_SERVER = r"10\.55\.0\.1\.\d+ > 10\.55\.0\.2\.8928", r"10\.55\.0\.2\.8928 > "
FOR_LONG = {"board": BOARD, "seconds": 30.0}

Act = Callable[[socket.socket, socket.socket], Awaitable[None]]


def flow_of(server: socket.socket) -> Flow:
    return Flow(server.getsockname()[1], server.getpeername()[1])


async def words(server: socket.socket, device: socket.socket) -> None:
    """Each side says something, ten times; whether it is heard does not matter."""
    for sock in (server, device):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(10):
        for sock in (server, device):
            with contextlib.suppress(OSError):
                sock.send(b"some words")
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.4)  # for the first retransmissions


async def long_words(server: socket.socket, _device: socket.socket) -> None:
    server.send(b"w" * 900)
    await asyncio.sleep(0.5)


def seen(
    lab: Any, tcpdump: Any, make: Callable[[Flow], AnyCommand], act: Act, *options: str
) -> list[str]:
    """What tcpdump saw of a connection while a fault was up, a line a packet."""

    async def play() -> None:
        loop = asyncio.get_running_loop()
        server, device = await lab.connected()
        with server, device:
            for one, other in ((server, device), (device, server)):
                one.send(b"hello")
                assert await loop.sock_recv(other, 5) == b"hello"
            async with Air({BOARD: lab.device}) as air:
                tcpdump.start()
                await air.ask(make(flow_of(server)))
                await act(server, device)
                tcpdump.stop()

    asyncio.run(play())
    return lab.sh(" ".join(["tcpdump", "-n", "-S", "-e", *options, "-r", str(tcpdump.path)])).split(
        "\n"
    )


def only(lines: list[str], *patterns: str) -> list[str]:
    """The lines in which every pattern is found."""
    return [line for line in lines if all(re.search(pattern, line) for pattern in patterns)]


def repeated(lines: list[str], *patterns: str) -> int:
    """How many packets with data were sent more than once, by their sequence numbers."""
    numbers = Counter(re.findall(r"seq (\d+):", "\n".join(only(lines, *patterns))))
    return sum(count > 1 for count in numbers.values())


@pytest.mark.parametrize(
    ("way", "lost", "heard"),
    [("to_device", TO_DEVICE, TO_SERVER), ("to_server", TO_SERVER, TO_DEVICE)],
)
def test_silence_one_way_is_retransmissions_that_way(
    lab: Any, tcpdump: Any, way: Any, lost: str, heard: str
) -> None:
    lines = seen(lab, tcpdump, lambda _: Drop(way=way, **FOR_LONG), words)
    assert repeated(lines, lost)
    assert bool(only(lines, NOWHERE)) == (way == "to_device")
    assert only(lines, heard), "the other way was to go on"


def test_silence_both_ways_is_retransmissions_both_ways(lab: Any, tcpdump: Any) -> None:
    lines = seen(lab, tcpdump, lambda _: Drop(**FOR_LONG), words)
    assert repeated(lines, TO_DEVICE, NOWHERE)
    assert repeated(lines, TO_SERVER)


def test_silence_on_another_connection_is_none_on_this_one(lab: Any, tcpdump: Any) -> None:
    lines = seen(lab, tcpdump, lambda _: Drop(flow=Flow(1, 8928), **FOR_LONG), words)
    assert only(lines, TO_DEVICE)
    assert not only(lines, NOWHERE)


def test_loss_is_some_packets_to_nowhere_and_others_to_the_device(lab: Any, tcpdump: Any) -> None:
    lines = seen(lab, tcpdump, lambda _: Drop(way="to_device", share=0.4, **FOR_LONG), words)
    lost = only(lines, TO_DEVICE, NOWHERE)
    assert 0 < len(lost) < len(only(lines, TO_DEVICE))


def test_a_refusal_is_the_answer_that_was_asked_for(lab: Any, tcpdump: Any) -> None:
    """One after the other on one connection; the RST, which ends it, last."""
    answers: dict[Refusal, str] = {
        "icmp-host": r"ICMP host .* unreachable, ",
        "icmp-port": r"ICMP .* tcp port \d+ unreachable",
        "icmp-admin": r"ICMP host .* unreachable - admin prohibited",
        "tcp-reset": r"Flags \[R",
    }

    async def play() -> None:
        server, device = await lab.connected()
        with server, device:
            async with Air({BOARD: lab.device}) as air:
                tcpdump.start()
                for answer in answers:
                    refuse = Refuse(way="to_server", answer=answer, **FOR_LONG)
                    done = await air.ask(refuse)
                    device.send(b"some words")
                    while not (await air.counts(done.effect or 0)).get("to_server"):
                        pass
                    await air.heal(done.effect)

    asyncio.run(play())
    lines = tcpdump.packets()
    for answer, shown in answers.items():
        assert only(lines, shown, r"10\.55\.0\.1(\.\d+)? > 10\.55\.0\.2"), (answer, lines)


def test_a_shrunk_path_is_long_packets_to_nowhere_and_no_icmp(lab: Any, tcpdump: Any) -> None:
    lines = seen(lab, tcpdump, lambda _: Shrink(way="to_device", size=300, **FOR_LONG), long_words)
    assert repeated(lines, TO_DEVICE, NOWHERE, "length 900")
    assert not only(lines, r"ICMP .*(need to frag|tcp)")


def test_a_rate_limit_is_packets_apart(lab: Any, tcpdump: Any) -> None:
    async def much(server: socket.socket, _device: socket.socket) -> None:
        server.send(b"m" * 8000)
        await asyncio.sleep(1.2)

    lines = seen(lab, tcpdump, lambda _: Rate(kbit=80, **FOR_LONG), much, "-tt")
    sent = only(lines, TO_DEVICE, r"length [1-9]")
    first, last = (float(line.split()[0]) for line in (sent[0], sent[-1]))
    octets = sum(int(re.findall(r"length (\d+)", line)[0]) for line in sent[1:])
    assert octets * 8 / (last - first) < 2 * 80_000


def test_a_delay_is_answers_that_come_late(lab: Any, tcpdump: Any) -> None:
    async def echo(server: socket.socket, device: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        device.send(b"ping")
        assert await loop.sock_recv(server, 4) == b"ping"
        server.send(b"pong!")
        assert await loop.sock_recv(device, 5) == b"pong!"

    lines = seen(lab, tcpdump, lambda _: Disturb(delay_ms=60, **FOR_LONG), echo, "-tt")
    ping, pong = (
        float(only(lines, way, f"length {size}$")[0].split()[0])
        for way, size in ((TO_SERVER, 4), (TO_DEVICE, 5))
    )
    assert pong - ping >= 0.120


def test_loss_in_the_queue_is_numbers_sent_again(lab: Any, tcpdump: Any) -> None:
    make = lambda _: Disturb(way="to_server", loss=0.5, seed=3, **FOR_LONG)  # noqa: E731
    assert repeated(seen(lab, tcpdump, make, words), TO_SERVER)


def test_reordering_is_numbers_that_fall(lab: Any, tcpdump: Any) -> None:
    make = lambda _: Disturb(  # noqa: E731
        way="to_device", delay_ms=60, reorder=0.4, seed=2, **FOR_LONG
    )

    async def many(server: socket.socket, device: socket.socket) -> None:
        for _ in range(3):  # on a busy machine TCP puts some of them together
            await words(server, device)

    lines = only(seen(lab, tcpdump, make, many), TO_DEVICE, "length 10$")
    numbers = [int(re.findall(r"seq (\d+):", line)[0]) for line in lines]
    assert numbers != sorted(numbers)


def test_damage_is_checksums_that_are_wrong_between_others_that_are_right(
    lab: Any, tcpdump: Any
) -> None:
    make = lambda _: Disturb(way="to_device", corrupt=0.4, seed=5, **FOR_LONG)  # noqa: E731
    lines = seen(lab, tcpdump, make, words, "-vv")
    assert only(lines, r"cksum 0x\w+ \(incorrect")
    assert only(lines, r"cksum 0x\w+ \(correct\)")


def test_what_is_forged_to_the_device_is_on_the_link_once(lab: Any, tcpdump: Any) -> None:
    """One after the other on one connection; the RST, which ends it, last."""
    forged: dict[Forgery, str] = {
        "duplicate": r"Flags \[P\.\].* length 1$",
        "out-of-window": r"Flags \[P\.\].* length 17$",
        "syn": r"Flags \[S\]",
        "fin": r"Flags \[F\.\]",
        "rst": r"Flags \[R\.\]",
    }

    async def play() -> None:
        server, device = await lab.connected()
        with server, device:
            device.send(b"hello")
            assert await asyncio.get_running_loop().sock_recv(server, 5) == b"hello"
            async with Air({BOARD: lab.device}) as air:
                tcpdump.start()
                for what in forged:
                    await air.ask(Forge(board=BOARD, flow=flow_of(server), what=what))
                tcpdump.stop()  # before the true ends

    asyncio.run(play())
    lines = tcpdump.packets()
    for what, shown in forged.items():
        assert len(only(lines, TO_DEVICE, shown)) == 1, (what, lines)


@pytest.mark.parametrize(("what", "shown"), [("rst", r"Flags \[R\.\]"), ("fin", r"Flags \[F\.\]")])
def test_what_is_forged_to_the_server_is_on_loopback_and_not_on_the_link(
    lab: Any, tcpdump: Any, what: Any, shown: str
) -> None:
    async def play() -> None:
        server, device = await lab.connected()
        with server, device:
            device.send(b"hello")
            assert await asyncio.get_running_loop().sock_recv(server, 5) == b"hello"
            async with Air({BOARD: lab.device}) as air:
                tcpdump.start("lo")
                await air.ask(Forge(board=BOARD, flow=flow_of(server), what=what, to="server"))
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.get_running_loop().sock_recv(server, 5) == b""
            assert device.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1

    asyncio.run(play())
    assert only(tcpdump.packets(), TO_SERVER, shown)


def test_an_arp_hole_is_answers_that_nobody_asked_for(lab: Any, tcpdump: Any) -> None:
    lines = seen(lab, tcpdump, lambda _: ArpHole(**FOR_LONG), words)
    assert only(lines, f"Reply 10.55.0.1 is-at {NOWHERE}")


def test_a_flood_is_as_many_syns_as_it_said(lab: Any, tcpdump: Any) -> None:
    async def wait(_server: socket.socket, _device: socket.socket) -> None:
        await asyncio.sleep(0.6)

    make = lambda _: SynFlood(port=8928, count=6, per_second=50, **FOR_LONG)  # noqa: E731
    lines = seen(lab, tcpdump, make, wait)
    assert len(only(lines, TO_DEVICE, r"Flags \[S\]")) == 6


def test_a_link_that_is_down_carries_nothing(lab: Any, tcpdump: Any) -> None:
    lines = seen(lab, tcpdump, lambda _: LinkDown(**FOR_LONG), words)
    assert not only(lines, TO_SERVER)


def test_a_second_tool_agrees(lab: Any, tcpdump: Any) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    seen(lab, tcpdump, lambda _: Drop(way="to_device", **FOR_LONG), words)
    found = lab.sh(f"tshark -r {tcpdump.path} -Y tcp.analysis.retransmission -T fields -e tcp.seq")
    assert found.split()
