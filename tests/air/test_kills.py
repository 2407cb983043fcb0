"""Kills at random moments: of the rig, of its helper, of both; then the next start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from rig.air.client import Air
from rig.air.healing import heal_leftovers
from rig.air.protocol import Rate

pytestmark = pytest.mark.root

BOARD = "kitchen"
FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware" / "v0.7.0"

VICTIM = textwrap.dedent(
    """
    import asyncio, itertools, pathlib, socket, sys
    from rig.air.client import Air
    from rig.air.protocol import (
        ArpHole, Capture, Disturb, Drop, LinkDown, Rate, Refuse, SynFlood
    )

    address, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    files = itertools.count(len(list(folder.iterdir())))

    async def main():
        while True:
            async with Air({"kitchen": address}, folder=folder) as air:
                print(air.pid, flush=True)
                for turn in range(20):
                    board = {"board": "kitchen", "seconds": 60}
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as word:
                        word.sendto(b"?", (address, 9))
                    await air.ask(Capture(file=f"{next(files)}.pcap", **board))
                    await air.ask(SynFlood(port=8928, count=2, **board))
                    await air.ask(Drop(**board))
                    await air.ask(Rate(kbit=64, **board))
                    await air.ask(Disturb(delay_ms=10, **board))
                    await air.ask(Refuse(**board))
                    if turn % 5 == 0:
                        await air.ask(ArpHole(**board))
                    await air.ask(LinkDown(**board))
                    await air.heal()

    asyncio.run(main())
    """
)


def kill_once(lab: Any, folder: Path, rng: random.Random) -> None:
    """A rig at work, killed at a random moment: itself, its helper, or both."""
    rig = subprocess.Popen(
        [sys.executable, "-c", VICTIM, lab.device, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert rig.stdout is not None
    helper = int(rig.stdout.readline())
    with contextlib.suppress(subprocess.TimeoutExpired):
        rig.wait(rng.uniform(0, 0.4))
    assert rig.poll() is None, "it ended by itself"
    who = rng.choice(["rig", "helper", "both"])
    if who != "rig":
        with contextlib.suppress(ProcessLookupError):
            os.kill(helper, signal.SIGKILL)
    rig.kill()
    rig.communicate(timeout=10)
    gone(helper)


def gone(*pids: int) -> None:
    """Wait until processes have ended: a helper ends by itself once its rig was killed."""
    deadline = time.monotonic() + 20
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "a helper outlived its rig"
        with contextlib.suppress(subprocess.TimeoutExpired):
            waiting = ["tail", *(f"--pid={pid}" for pid in pids), "-f", "/dev/null"]
            subprocess.run(waiting, timeout=0.1, check=False)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def kill_many(lab: Any, folder: Path, times: int) -> None:
    rng = random.Random(5)
    folder.mkdir()
    before = lab.traces()
    for _ in range(times):
        kill_once(lab, folder, rng)
        report = heal_leftovers()
        assert not report.left
        assert lab.traces() == before
        assert not list((lab.home / "air").iterdir())


def test_kills_at_random_moments_leave_nothing_after_the_next_start(
    lab: Any, tmp_path: Path
) -> None:
    kill_many(lab, tmp_path / "captures", 4)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_hundred_kills_at_random_moments_leave_nothing_after_the_next_start(
    lab: Any, tmp_path: Path
) -> None:
    kill_many(lab, tmp_path / "captures", 100)


def children(pid: int) -> set[int]:
    """All that came of a process, and is in the lab's namespace or one of its own."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    found = {pid}
    for line in listed.stdout.splitlines() * 4:
        child, parent = map(int, line.split())
        if parent in found:
            found.add(child)
    return found - {pid}


def kill_a_run(out: Path, rng: random.Random, latest: float) -> None:
    """A whole run with faults on packets, on the virtual board, killed at a random moment."""
    rig = [sys.executable, "-m", "rig"]
    faults = ["run", "half-open", "roam", "forged-rst", "--faults", "rate,arp-hole,packet-delay"]
    running = subprocess.Popen(
        [*rig, *faults, "--firmware", str(FIRMWARE), "--out", str(out), "--cycles", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(rng.uniform(0.5, latest))
    others = children(running.pid)
    who = rng.choice(["rig", "helper", "both"])
    if who != "rig":
        for pid in others:
            with contextlib.suppress(OSError):
                if b"rig.air.helper" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
    if who == "helper":
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(rng.uniform(0, 2))
    running.kill()
    running.wait()
    gone(*others)
    history = out / "history.jsonl"
    ended = history.exists() and b'"run_ended"' in history.read_bytes()  # its helper was gone
    subprocess.run([*rig, "boards"], capture_output=True, timeout=60, check=True)
    if ended:  # before it was killed: the board of such a run stays plugged in
        subprocess.run([*rig, "unplug", "virtual"], capture_output=True, timeout=60, check=True)


def kill_runs(lab: Any, tmp_path: Path, times: int, seed: int, latest: float = 15) -> None:
    rng = random.Random(seed)
    before = lab.traces()
    for number in range(times):
        kill_a_run(tmp_path / f"out-{number}", rng, latest)
        deadline = time.monotonic() + 10  # a board that is unplugged ends in its own time
        while (now := lab.traces()) != before and time.monotonic() < deadline:
            pass
        assert now == before, f"after kill {number}"


def test_a_killed_run_leaves_neither_faults_nor_a_board_on_the_host(
    lab: Any, tmp_path: Path
) -> None:
    kill_runs(lab, tmp_path, 1, 6, latest=5)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_thirty_killed_runs_leave_neither_faults_nor_boards_on_the_host(
    lab: Any, tmp_path: Path
) -> None:
    kill_runs(lab, tmp_path, 30, 3)


def test_any_rig_command_heals_after_a_killed_helper(lab: Any) -> None:
    async def play() -> None:
        air = await Air({BOARD: lab.device}).__aenter__()
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
