"""How fast the reference server can be dropped and dialled again: connect, hello, greet, RST.

    python benchmarks/reference_cycles.py [--cycles 300]

A device process answers the upgrade and says client/hello at once. Each cycle is a new server of
aiosendspin's, through the link with tap and history on; the scripted server does the same beside
it. Fails (exit 1) below 20 cycles a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rig.history import HistoryStore
from rig.link import Link
from rig.protocol import encode_frame
from rig.protocol.handshake import HEAD_END, header, upgrade_answer
from rig.servers import ScriptedServer
from rig.servers.played import PlayedServer

WANTED = 20.0
HELLO = {
    "type": "client/hello",
    "payload": {
        "client_id": "bench",
        "name": "bench",
        "version": 1,
        "supported_roles": ["metadata@v1"],
    },
}


@dataclass(frozen=True)
class At:
    port: int
    host: str = "127.0.0.1"
    path: str = "/sendspin"


def be_device() -> None:
    """Greet each connection, and wait for its end."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    hello = encode_frame("text", json.dumps(HELLO).encode())
    while True:
        sock, _ = listener.accept()
        try:
            data = b""
            while not data.endswith(HEAD_END):
                data += sock.recv(4_096)
            sock.sendall(upgrade_answer(header(data, "Sec-WebSocket-Key") or "") + hello)
            while sock.recv(4_096):
                pass
        except OSError:
            pass
        sock.close()


async def cycle(server: ScriptedServer) -> None:
    connection = await server.connect()
    assert await connection.upgrade() == 101
    assert await connection.wait_hello() is not None
    connection.greet()
    connection.drop()


async def measure(port: int, cycles: int) -> float:
    rate = 0.0
    with tempfile.TemporaryDirectory() as folder, HistoryStore(Path(folder) / "h.jsonl") as store:
        for name, kind in (("scripted", ScriptedServer), ("reference", PlayedServer)):
            async with Link(At(port), store.append) as link, kind(link) as server:
                await cycle(server)  # imports what is imported on first use
                began, spent = time.perf_counter(), time.process_time()
                for n in range(cycles):
                    await cycle(server)
                    if n % 50 == 49:
                        await server.aclose()
                took = time.perf_counter() - began
                own = (time.process_time() - spent) / cycles * 1_000
            rate = cycles / took
            print(f"{name:10} {rate:7.1f} cycles/s, {own:.2f} ms of CPU a cycle")
    return rate


def main() -> int:
    """Run the benchmark, or play the device."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--cycles", type=int, default=300)
    arguments.add_argument("--device", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.device:
        be_device()
    device = subprocess.Popen(
        [sys.executable, __file__, "--device"], stdout=subprocess.PIPE, text=True
    )
    assert device.stdout is not None
    try:
        rate = asyncio.run(measure(int(device.stdout.readline()), given.cycles))
    finally:
        device.kill()
        device.wait()
    return 0 if rate >= WANTED else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
