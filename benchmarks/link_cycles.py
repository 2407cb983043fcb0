"""Fault cycles a second of the scripted server against a bare socket loop in the same run.

    python benchmarks/link_cycles.py [--cycles 1000] [--address HOST:PORT]

One cycle: connect, upgrade, wait for the device's hello, greet, drop with a RST. The bare loop does
the same with blocking sockets and looks at nothing. Without an address both meet a trivial device
that does no work at all, so that the ratio is the rig's own cost and nothing is asked of it; on a
device (`rig flash virtual ...` prints its address) the rig must do at least half of the bare loop.
Fails (exit 1) below that, below 50 cycles a second, or when memory grows by more than 2 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rig.history import HistoryStore
from rig.link import Link
from rig.protocol import encode_frame, new_key, upgrade_request
from rig.protocol.handshake import HEAD_END, header, upgrade_answer
from rig.protocol.messages import encode, server_hello
from rig.servers import ScriptedServer

HELLO = encode_frame(
    "text",
    encode(
        "client/hello",
        {
            "client_id": "aa:bb:cc:dd:ee:ff",
            "name": "trivial",
            "version": 1,
            "supported_roles": ["player@v1", "controller@v1", "metadata@v1"],
        },
    ),
)
GREETING = encode_frame("text", encode("server/hello", server_hello("s", "n")), mask=b"abcd")
ROUNDS = 5


@dataclass(frozen=True)
class At:
    port: int
    host: str = "127.0.0.1"
    path: str = "/sendspin"


def be_device() -> None:
    """Upgrade, greet, wait for the end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        try:
            while not data.endswith(HEAD_END):
                data += sock.recv(4_096)
            sock.sendall(upgrade_answer(header(data, "Sec-WebSocket-Key") or "") + HELLO)
            while sock.recv(4_096):
                pass
        except OSError:
            pass
        sock.close()


def bare(at: At, cycles: int) -> float:
    """Cycles a second with nothing but blocking sockets."""
    began = time.perf_counter()
    for _ in range(cycles):
        sock = socket.create_connection((at.host, at.port))
        sock.sendall(upgrade_request("b", "/sendspin", new_key()))
        data = b""
        while b'"client/hello"' not in data:
            more = sock.recv(4_096)
            if not more:
                raise SystemExit("the device did not greet the bare loop")
            data += more
        sock.sendall(GREETING)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    return cycles / (time.perf_counter() - began)


async def scripted(at: At, cycles: int, store: HistoryStore) -> float:
    """Cycles a second of the scripted server, tap and history on."""
    async with Link(at, store.append) as link, ScriptedServer(link) as server:
        began = time.perf_counter()
        for _ in range(cycles):
            connection = await server.connect(answer_hello=True)
            await connection.upgrade()
            if await connection.wait_hello() is None:
                raise SystemExit("the device did not greet the scripted server")
            connection.drop()
        return cycles / (time.perf_counter() - began)


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 2**20


def compare(at: At, cycles: int, *, half: bool) -> int:
    """Both loops in turns, so that they meet the same load; the exit code."""
    each = max(1, cycles // ROUNDS)
    theirs, ours = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        HistoryStore(Path(folder) / "h.jsonl") as store,
    ):
        asyncio.run(scripted(at, each, store))  # warm: imports, caches
        memory = resident_mib()
        for _ in range(ROUNDS):
            theirs.append(bare(at, each))
            ours.append(asyncio.run(scripted(at, each, store)))
        grown = resident_mib() - memory
    best, mine = max(theirs), max(ours)
    print(f"bare loop        {best:8.0f} cycles/s")
    print(f"scripted server  {mine:8.0f} cycles/s, {mine / best:.2f} of the bare loop")
    print(f"memory           {grown:+8.2f} MiB over {ROUNDS * each} cycles")
    good = mine >= 50 and grown <= 2 and (mine >= best / 2 or not half)
    return 0 if good else 1


def main() -> int:
    """Run the benchmark, or be its device."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--cycles", type=int, default=1_000)
    arguments.add_argument("--address", help="HOST:PORT of a Sendspin device")
    arguments.add_argument("--device", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.device:
        be_device()
    if given.address:
        host, _, port = given.address.rpartition(":")
        return compare(At(int(port), host), given.cycles, half=True)
    device = subprocess.Popen(
        [sys.executable, __file__, "--device"], stdout=subprocess.PIPE, text=True
    )
    assert device.stdout is not None
    try:
        return compare(At(int(device.stdout.readline())), given.cycles, half=False)
    finally:
        device.kill()
        device.wait()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
