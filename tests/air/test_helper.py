"""The helper itself, as root, in network namespaces of the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from rig.air.client import Air
from rig.air.healing import heal_leftovers
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
    Request,
    Shrink,
    decode_answer,
    encode,
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


@pytest.mark.parametrize(
    "command",
    LASTING,
    ids=lambda c: f"{type(c).__name__}-{c.way}" if hasattr(c, "way") else type(c).__name__,
)
def test_a_fault_changes_the_host_and_healing_leaves_no_trace_of_it(
    lab: Any, command: AnyCommand
) -> None:
    async def play() -> None:
        before = lab.traces()
        async with air_of(lab) as air:
            done = await air.ask(command)
            during = lab.traces()
            await air.heal(done.effect)
            after = lab.traces()
        assert during != before
        assert after == before

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


# -- noise on the pipe ----------------------------------------------------------------------------


def noise(rng: random.Random) -> bytes:
    """One line that is no sound command for this bench."""
    sound = encode(Request(rng.randrange(99), Drop(board=BOARD, seconds=9)))
    match rng.randrange(5):
        case 0:
            return rng.randbytes(rng.randrange(200)).replace(b"\n", b"") + b"\n"
        case 1:
            return encode(Request(1, Drop(board=f"b{rng.randrange(9)}", seconds=9)))
        case 2:
            return sound.replace(b"kitchen", b"10.55.0.%d" % rng.randrange(255))
        case 3:
            at = rng.randrange(len(sound) - 1)
            return sound[:at] + bytes([rng.randrange(128, 256)]) + sound[at + 1 :]
        case _:
            return b"[" * rng.choice([10, 5_000, 70_000]) + b"\n"


def test_no_noise_on_the_pipe_makes_a_change_or_a_crash(lab: Any) -> None:
    rng = random.Random(7)
    begin = Begin(run="abcd", journal=str(lab.home / "air"), boards=())
    lines = [noise(rng) for _ in range(300)]
    before = lab.traces()
    last = encode(Request(4242, Drop(board="nobody", seconds=1)))
    done = subprocess.run(
        [sys.executable, "-m", "rig.air.helper"],
        input=encode(Request(1, begin)) + b"".join(lines) + last,
        capture_output=True,
        timeout=50,
        check=False,
    )
    answers = [decode_answer(line) for line in done.stdout.splitlines()]
    kinds = [type(answer).__name__ for answer in answers]
    assert done.returncode == 0
    assert done.stderr == b""
    assert kinds == ["Done"] + ["Refused"] * (len(kinds) - 1)
    assert len(kinds) >= 300
    assert lab.traces() == before


# -- kills ------------------------------------------------------------------------------------

VICTIM = textwrap.dedent(
    """
    import asyncio, sys
    from rig.air.client import Air
    from rig.air.protocol import Disturb, Drop, Rate, Refuse

    async def main():
        while True:
            async with Air({"kitchen": sys.argv[1]}) as air:
                print(air.pid, flush=True)
                for _ in range(20):
                    await air.ask(Drop(board="kitchen", seconds=60))
                    await air.ask(Rate(board="kitchen", kbit=64, seconds=60))
                    await air.ask(Disturb(board="kitchen", delay_ms=10, seconds=60))
                    await air.ask(Refuse(board="kitchen", seconds=60))
                    await air.heal()

    asyncio.run(main())
    """
)


def kill_once(lab: Any, rng: random.Random) -> None:
    """A rig at work, killed at a random moment: itself, its helper, or both."""
    rig = subprocess.Popen(
        [sys.executable, "-c", VICTIM, lab.device],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert rig.stdout is not None
    helper = int(rig.stdout.readline())
    with contextlib.suppress(subprocess.TimeoutExpired):
        rig.wait(rng.uniform(0, 0.3))
    who = rng.choice(["rig", "helper", "both"])
    if who != "rig":
        with contextlib.suppress(ProcessLookupError):
            os.kill(helper, signal.SIGKILL)
    rig.kill()
    rig.communicate(timeout=10)
    # The helper of a killed rig ends by itself: its journal is unlocked or gone by then.
    deadline = 200
    while alive(helper) and deadline:
        deadline -= 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(["tail", f"--pid={helper}", "-f", "/dev/null"], timeout=0.1, check=False)
    assert not alive(helper), "the helper outlived its rig"


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_many(lab: Any, times: int) -> None:
    rng = random.Random(5)
    before = lab.traces()
    for _ in range(times):
        kill_once(lab, rng)
        report = heal_leftovers()
        assert not report.left
        assert lab.traces() == before
        assert not [p for p in (lab.home / "air").iterdir() if p.suffix == ".journal"]


def test_kills_at_random_moments_leave_nothing_after_the_next_start(lab: Any) -> None:
    kill_many(lab, 6)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_hundred_kills_at_random_moments_leave_nothing_after_the_next_start(lab: Any) -> None:
    kill_many(lab, 100)


def test_any_rig_command_heals_after_a_killed_helper(lab: Any) -> None:
    async def play() -> None:
        air = await air_of(lab).__aenter__()
        await air.ask(Rate(board=BOARD, kbit=64, seconds=30))
        assert air._process is not None
        os.kill(air.pid, signal.SIGKILL)
        await air._process.wait()

    before = lab.traces()
    asyncio.run(play())
    assert lab.traces() != before
    done = subprocess.run(
        [sys.executable, "-m", "rig", "checks"], capture_output=True, text=True, check=True
    )
    assert "healed after a killed run: rate limit on" in done.stderr
    assert lab.traces() == before
