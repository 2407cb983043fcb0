"""The helper itself, as root, in network namespaces of the test."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import pytest

from rig.air.client import Air
from rig.air.leftovers import leftovers
from rig.air.protocol import (
    AnyCommand,
    Begin,
    Disturb,
    Drop,
    Flow,
    KillSocket,
    Rate,
    Refuse,
    Shrink,
)
from rig.errors import FaultError

pytestmark = pytest.mark.root

BOARD = "kitchen"


def air_of(lab: Any) -> Air:
    return Air({BOARD: lab.device})


def flow_of(server: socket.socket) -> Flow:
    return Flow(server.getsockname()[1], server.getpeername()[1])


async def arrives(sock: socket.socket, timeout: float) -> bytes | None:
    """What the socket receives within `timeout` s; None: nothing."""
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.get_running_loop().sock_recv(sock, 65536)
    except TimeoutError:
        return None


LASTING: list[AnyCommand] = [
    Drop(board=BOARD, seconds=30),
    Drop(board=BOARD, way="to_device", share=0.3, flow=Flow(4000, 8928), seconds=30),
    Refuse(board=BOARD, seconds=30),
    Refuse(board=BOARD, answer="icmp-host", way="to_server", seconds=30),
    Shrink(board=BOARD, size=300, seconds=30),
    Rate(board=BOARD, kbit=64, seconds=30),
    Disturb(board=BOARD, delay_ms=20, seconds=30),
]


def test_each_fault_changes_the_host_and_healing_leaves_no_trace_of_it(lab: Any) -> None:
    async def play() -> None:
        before = lab.traces()
        async with air_of(lab) as air:
            for command in LASTING:
                done = await air.ask(command)
                during = lab.traces()
                await air.heal(done.effect)
                after = lab.traces()
                assert during != before, command
                assert after == before, command

    asyncio.run(play())


def test_the_end_of_the_pipe_takes_everything_back(lab: Any) -> None:
    async def play() -> None:
        before = lab.traces()
        async with air_of(lab) as air:
            for command in LASTING:
                await air.ask(command)
        assert lab.traces() == before
        assert not list(air.journal.iterdir())

    asyncio.run(play())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_takes_everything_back(lab: Any, number: signal.Signals) -> None:
    async def play() -> None:
        before = lab.traces()
        async with air_of(lab) as air:
            await air.ask(Rate(board=BOARD, kbit=64, seconds=30))
            await air.ask(Drop(board=BOARD, seconds=30))
            assert air._process is not None
            os.kill(air.pid, number)
            await air._process.wait()
            assert lab.traces() == before
            assert not list(air.journal.iterdir())

    asyncio.run(play())


def test_after_kill_9_the_kernel_takes_the_rules_and_the_next_helper_the_rest(lab: Any) -> None:
    async def play() -> None:
        before = lab.traces()
        async with air_of(lab) as air:
            await air.ask(Rate(board=BOARD, kbit=64, seconds=30))
            await air.ask(Drop(board=BOARD, seconds=30))
            assert air._process is not None
            os.kill(air.pid, signal.SIGKILL)
            await air._process.wait()
            assert "htb" in lab.sh("tc qdisc show")
            assert leftovers(air.journal)
        assert lab.traces() == before
        assert not list(air.journal.iterdir())

    asyncio.run(play())


def test_a_fault_ends_by_itself_when_its_time_is_up(lab: Any) -> None:
    async def play() -> None:
        before = lab.traces()
        async with air_of(lab) as air:
            over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            air.on_over = lambda said: over.set_result(said.why)
            await air.ask(Drop(board=BOARD, seconds=0.05))
            assert await asyncio.wait_for(over, 10) == "its time is up"
            assert lab.traces() == before

    asyncio.run(play())


def test_silence_to_the_device_is_retransmitted_into_nothing(lab: Any, tcpdump: Any) -> None:
    async def play() -> None:
        tcpdump.start()
        server, device = await lab.connected()
        async with air_of(lab) as air:
            done = await air.ask(Drop(board=BOARD, way="to_device", seconds=30))
            server.send(b"are you there")
            assert await arrives(device, 1.0) is None
            counted = (await air.counts(done.effect or 0))["to_device"]
            await air.heal(done.effect)
        server.close()
        device.close()
        lost = [line for line in tcpdump.packets() if "02:73:72:69:67:6d" in line]
        data = [line for line in lost if "length 13" in line]
        assert counted >= 2
        assert len(lost) >= counted
        assert len(data) >= 2, "tcpdump saw no retransmission"

    asyncio.run(play())


def test_silence_to_the_server_still_lets_the_device_hear(lab: Any) -> None:
    async def play() -> None:
        server, device = await lab.connected()
        async with air_of(lab) as air:
            done = await air.ask(Drop(board=BOARD, way="to_server", seconds=30))
            server.send(b"hello")
            assert await arrives(device, 5) == b"hello"
            device.send(b"answer")
            assert await arrives(server, 0.5) is None
            assert (await air.counts(done.effect or 0))["to_server"] >= 2
            await air.heal(done.effect)
            assert await arrives(server, 10) == b"answer"
        server.close()
        device.close()

    asyncio.run(play())


def test_a_fault_on_one_connection_leaves_the_others_alone(lab: Any) -> None:
    async def play() -> None:
        server, device = await lab.connected()
        other_server, other_device = await lab.connected()
        async with air_of(lab) as air:
            await air.ask(Drop(board=BOARD, flow=flow_of(server), seconds=30))
            server.send(b"lost")
            other_server.send(b"heard")
            assert await arrives(other_device, 5) == b"heard"
            assert await arrives(device, 0.3) is None
        for sock in (server, device, other_server, other_device):
            sock.close()

    asyncio.run(play())


def test_a_refused_packet_is_answered_with_a_rst_that_tcpdump_sees(lab: Any, tcpdump: Any) -> None:
    async def play() -> None:
        tcpdump.start()
        server, device = await lab.connected()
        async with air_of(lab) as air:
            done = await air.ask(Refuse(board=BOARD, way="to_server", seconds=30))
            device.send(b"x")
            with pytest.raises(ConnectionResetError):
                await arrives(device, 5)
            assert (await air.counts(done.effect or 0))["to_server"] >= 1
            assert await arrives(server, 0.2) is None, "the server's side was to know nothing"
        server.close()
        device.close()
        sent = f"{lab.own}.{flow_of_text(tcpdump.packets())}"
        assert "Flags [R" in sent

    asyncio.run(play())


def flow_of_text(lines: list[str]) -> str:
    return "\n".join(line for line in lines if "10.55.0.1." in line.partition(">")[2])


def test_a_shrunk_path_lets_only_small_packets_through(lab: Any) -> None:
    async def play() -> None:
        server, device = await lab.connected()
        async with air_of(lab) as air:
            done = await air.ask(Shrink(board=BOARD, way="to_device", size=200, seconds=30))
            server.send(b"s" * 100)
            assert await arrives(device, 5) == b"s" * 100
            server.send(b"l" * 400)
            assert await arrives(device, 0.5) is None
            assert (await air.counts(done.effect or 0))["to_device"] >= 1
            await air.heal(done.effect)
            assert await arrives(device, 10) == b"l" * 400
        server.close()
        device.close()

    asyncio.run(play())


def test_a_rate_limit_holds_back_what_is_too_much(lab: Any) -> None:
    async def play() -> None:
        server, device = await lab.connected()
        async with air_of(lab) as air:
            done = await air.ask(Rate(board=BOARD, kbit=80, seconds=30))
            begun = asyncio.get_running_loop().time()
            size = 10_000  # 1 s at 10 kB/s, but for the first burst
            server.send(b"r" * size)
            got = 0
            while got < size:
                part = await arrives(device, 10)
                assert part
                got += len(part)
            took = asyncio.get_running_loop().time() - begun
            counts = await air.counts(done.effect or 0)
        server.close()
        device.close()
        assert took > 0.5
        assert counts["overlimits"] > 0

    asyncio.run(play())


def test_a_killed_socket_says_no_word_to_the_device(lab: Any, tcpdump: Any) -> None:
    async def play() -> None:
        tcpdump.start()
        server, device = await lab.connected()
        async with air_of(lab) as air:
            await air.ask(KillSocket(board=BOARD, flow=flow_of(server), seconds=30))
            with pytest.raises(OSError):
                server.send(b"x")
            device.send(b"are you there")
            assert await arrives(device, 0.5) is None, "the device was told"
        server.close()
        device.close()

    asyncio.run(play())
    out = [line for line in tcpdump.packets() if "Flags [R" in line]
    assert all("02:73:72:69:67:6d" in line for line in out), "a RST reached the device"


def test_a_connection_that_is_not_there_cannot_be_killed(lab: Any) -> None:
    async def play() -> None:
        before = lab.traces()
        async with air_of(lab) as air:
            with pytest.raises(FaultError, match="no connection from port 1 "):
                await air.ask(KillSocket(board=BOARD, flow=Flow(1, 2), seconds=30))
            assert lab.traces() == before

    asyncio.run(play())


def test_somebody_elses_queueing_discipline_is_left_alone(lab: Any) -> None:
    async def play() -> None:
        lab.sh(f"tc qdisc add dev {lab.interface} root handle 7: htb")
        before = lab.traces()
        async with air_of(lab) as air:
            with pytest.raises(FaultError, match="queueing discipline already"):
                await air.ask(Rate(board=BOARD, kbit=80, seconds=30))
        assert lab.traces() == before

    asyncio.run(play())


def test_a_board_at_a_public_address_is_refused_at_the_start(lab: Any) -> None:
    async def play() -> None:
        with pytest.raises(FaultError, match="never touches a public one"):
            async with Air({BOARD: "8.8.8.8"}):
                pass

    asyncio.run(play())


def test_the_boards_cannot_be_changed_later(lab: Any) -> None:
    async def play() -> None:
        async with air_of(lab) as air:
            with pytest.raises(FaultError, match="the boards are fixed"):
                await air.ask(Begin(run="abcd", journal=str(lab.home), boards=()))

    asyncio.run(play())
