"""Noise on the helper's pipe, as root, in network namespaces of the test."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rig.air.protocol import (
    COMMANDS,
    Begin,
    Done,
    Drop,
    Refused,
    Request,
    decode_answer,
    encode,
)

pytestmark = pytest.mark.root

BOARD = "kitchen"


def helper(*requests: bytes) -> subprocess.CompletedProcess[bytes]:
    """A helper that is given all this at once, and then the end of its pipe."""
    return subprocess.run(
        [sys.executable, "-m", "rig.air.helper"],
        input=b"".join(requests),
        capture_output=True,
        timeout=80,
        check=False,
    )


def begin(lab: Any, **boards: str) -> bytes:
    named = [{"name": name, "address": address} for name, address in boards.items()]
    command = {"do": "begin", "run": "abcd", "journal": str(lab.home / "air"), "boards": named}
    return msgspec.json.encode({"id": 0, "command": command}) + b"\n"


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
    before = lab.traces()
    last = encode(Request(4242, Drop(board="nobody", seconds=1)))
    done = helper(begin(lab), *(noise(rng) for _ in range(300)), last)
    answers = [decode_answer(line) for line in done.stdout.splitlines()]
    kinds = [type(answer).__name__ for answer in answers]
    assert done.returncode == 0
    assert done.stderr == b""
    assert kinds == ["Done"] + ["Refused"] * (len(kinds) - 1)
    assert len(kinds) >= 300
    assert lab.traces() == before


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "board": st.sampled_from([BOARD, BOARD, BOARD, "bath", "8.8.8.8"]),
    "seconds": st.floats(0.001, 0.03),
    "way": st.sampled_from(["both", "to_device", "to_server"]),
    "flow": st.builds(
        dict, server_port=st.integers(1, 65535), device_port=st.sampled_from([8928, 22])
    ),
    "to": st.sampled_from(["device", "server"]),
    "what": st.sampled_from(["rst", "fin", "duplicate", "out-of-window", "syn"]),
    "answer": st.sampled_from(["tcp-reset", "icmp-host", "icmp-port", "icmp-admin"]),
    "interface": st.sampled_from(["lo", "srigtest0", "wan"]),
    "station": st.just("02:00:00:00:00:01"),
    "bssid": st.just("02:00:00:00:00:02"),
    "port": st.just(8928),
    "count": st.integers(1, 8),
    "kbit": st.floats(1, 1000),
    "size": st.integers(68, 1500),
    "effect": st.integers(0, 60),
    "delay_ms": st.floats(0, 20),
    "loss": st.floats(0, 1),
}
ASKS_A_DEVICE = {"forge", "ask"}
"""Commands that wait for a device's answer: left to tests with a device."""


def commands() -> st.SearchStrategy[bytes]:
    """Commands of the list, most of which can be carried out; some have a field too many."""
    one_of = []
    for cls in COMMANDS:
        tag = cls.__struct_config__.tag
        if cls is Begin or tag in ASKS_A_DEVICE:
            continue
        own = {name: FIELDS[name] for name in cls.__struct_fields__ if name in FIELDS}
        extra = {"address": st.just("8.8.8.8")} if tag == "drop" else {}
        one_of.append(st.fixed_dictionaries({"do": st.just(tag), **own}, optional=extra))
    return st.one_of(one_of).map(lambda c: msgspec.json.encode({"id": 7, "command": c}) + b"\n")


@pytest.fixture
def wan(lab: Any) -> Iterator[socket.socket]:
    """Hears all that leaves by the way to the rest of the world."""
    lab.sh("ip link add wan type veth peer name world")
    lab.sh("ip link set world up")
    lab.sh("ip addr add 203.0.113.2/24 dev wan")
    lab.sh("ip link set wan up")
    lab.sh("ip route add default via 203.0.113.1")
    lab.sh("ip neigh add 203.0.113.1 lladdr 02:00:00:00:00:99 dev wan")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as listener:
        listener.bind(("wan", 3))
        listener.setblocking(False)
        yield listener


def heard(listener: socket.socket) -> list[bytes]:
    """The IPv4 and ARP frames so far: IPv6 tells of itself on any new interface."""
    frames = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frames.append(listener.recv(2048))
    return [each for each in frames if each[12:14] != b"\x86\xdd"]


@settings(
    max_examples=3,
    phases=[Phase.explicit, Phase.generate],  # every example is a process: none to shrink by
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(commands(), min_size=20, max_size=120))
def test_whatever_is_asked_nothing_crashes_nothing_stays_and_nobody_else_is_touched(
    lab: Any, wan: socket.socket, lines: list[bytes]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_word:
        any_word.sendto(b"?", (lab.device, 9))  # so that its link address is known
    before = lab.traces()
    done = helper(begin(lab, kitchen=lab.device, bath="10.55.0.77"), *lines)
    answers = [decode_answer(line) for line in done.stdout.splitlines()]
    own = [each for each in answers if isinstance(each, Done | Refused)]
    assert done.returncode == 0, (done.stdout[-500:], done.stderr)
    assert done.stderr == b""
    assert len(own) == 1 + len(lines)
    assert lab.traces() == before
    assert heard(wan) == []


@pytest.mark.parametrize("address", ["8.8.8.8", "203.0.113.9", "224.0.0.251", "10.55.0.2/8", ""])
def test_a_bench_with_one_wrong_address_is_refused_whole(
    lab: Any, wan: socket.socket, address: str
) -> None:
    drop = encode(Request(2, Drop(board=BOARD, seconds=1)))
    done = helper(begin(lab, kitchen=lab.device, bath=address), drop)
    answers = [decode_answer(line) for line in done.stdout.splitlines()]
    assert [type(each) for each in answers] == [Refused]
    assert done.returncode == 1
    assert heard(wan) == []


def test_who_reads_no_answers_costs_no_memory_and_is_asked_for_no_more(lab: Any) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "rig.air.helper"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(begin(lab))
    running.stdin.flush()
    running.stdout.readline()
    before = resident(running.pid)
    os.set_blocking(running.stdin.fileno(), False)
    lines = b"".join(encode(Request(n, Drop(board="nobody", seconds=1))) for n in range(1000))
    written, idle = 0, 0
    while idle < 10:  # until nothing is taken for half a second: the helper waits for its reader
        try:
            written += os.write(running.stdin.fileno(), lines)
            idle = 0
        except BlockingIOError:
            idle += 1
            select.select([], [running.stdin], [], 0.05)
        assert written < 64 << 20, "the helper reads on and on"
    grown = resident(running.pid) - before
    with contextlib.suppress(BlockingIOError):
        running.stdin.close()
    running.stdout.close()
    assert running.wait(20) == 0
    assert grown < 16 << 20


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    status = Path(f"/proc/{pid}/statm").read_text()
    return int(status.split()[1]) * os.sysconf("SC_PAGESIZE")
