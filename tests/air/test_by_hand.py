"""`rig fault` on a board of a bench file: seen, and healed at its end and on Ctrl-C."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rig.boards import open_board
from rig.boards.bench import find_bench
from rig.boards.lock_file import LockFile
from rig.boards.locks import things

pytestmark = pytest.mark.root


@pytest.fixture
def bench(lab: Any, tmp_path: Path) -> Path:
    """A bench with a board that is an address and nothing else."""
    if shutil.which("nft") is None:
        pytest.skip("needs nft, to see from outside that a fault is up")
    path = tmp_path / "bench.toml"
    path.write_text(f'[boards.kitchen]\naddress = "{lab.device}:{lab.port}"\n')
    return path


def fault(bench: Path, *words: str, **how: Any) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "rig", "fault", "kitchen", *words, "--bench", str(bench)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **how)


def until_up(lab: Any) -> None:
    """Wait until nft shows the fault's table."""
    deadline = time.monotonic() + 20
    while "table netdev srig_" not in lab.sh("nft list tables"):
        assert time.monotonic() < deadline, "no fault came up"


def traffic(lab: Any) -> None:
    """SYNs that the fault meets."""
    with lab.listen(), socket.socket() as server:
        server.setblocking(False)
        server.connect_ex((lab.device, lab.port))


def test_a_fault_by_hand_is_seen_shown_live_and_healed_when_its_time_is_up(
    lab: Any, bench: Path
) -> None:
    before = lab.traces()
    ours, theirs = pty.openpty()
    with fault(bench, "silence-to-device", "for", "3s", stderr=theirs) as running:
        os.close(theirs)
        until_up(lab)
        traffic(lab)
        said, _ = running.communicate(timeout=30)
    assert running.returncode == 0
    assert "silence-to-device: " in said
    assert "packets lost" in said
    view = os.read(ours, 65536).decode()
    os.close(ours)
    assert "heals in" in view
    assert lab.traces() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fault_by_hand_is_healed_when_it_is_interrupted(
    lab: Any, bench: Path, number: signal.Signals
) -> None:
    before = lab.traces()
    with fault(bench, "rate=64,loss=20%", "for", "10m", stderr=subprocess.PIPE) as running:
        until_up(lab)
        running.send_signal(number)
        _, words = running.communicate(timeout=30)
    assert running.returncode == 130, words
    assert lab.traces() == before


def test_a_fault_that_met_nothing_is_not_called_seen(lab: Any, bench: Path) -> None:
    with fault(bench, "mtu=1400", "for", "300ms") as running:
        said, _ = running.communicate(timeout=30)
    assert running.returncode == 3
    assert "mtu=1400: not seen" in said


def test_a_board_that_a_run_holds_is_left_to_it_and_the_way_to_faults_in_a_run_is_said(
    lab: Any, bench: Path
) -> None:
    kitchen = open_board("kitchen", find_bench(bench))
    (thing,) = things(kitchen)
    lock = LockFile(thing)
    assert lock.acquire("rig run") is None
    try:
        with fault(bench, "loss=20%", "for", "1s", stderr=subprocess.PIPE) as running:
            _, words = running.communicate(timeout=30)
        assert running.returncode == 3
        assert "held by rig run" in words
        assert "rig run --faults loss" in words
        with fault(bench, "mtu=1400", "for", "300ms", "--wait", stderr=subprocess.PIPE) as waiting:
            assert waiting.stderr is not None
            assert "waiting for 'kitchen': held by rig run" in waiting.stderr.readline()
            lock.release()
            waiting.communicate(timeout=30)
        assert waiting.returncode == 3  # it was made, and met nothing
    finally:
        lock.release()
