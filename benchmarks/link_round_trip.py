"""What the link adds to a round trip, and what it costs to carry audio.

    python benchmarks/link_round_trip.py [--trips 2000] [--seconds 3]

A device process answers every frame; a client sends one frame and waits for the answer, in turns
directly and through a link that runs in a process of its own, tap and history on. Then 20 Mbit/s
of audio frames go through the link while its own CPU time is read. Fails (exit 1) when the link
adds more than 0.3 ms to the median or needs more than half a core for the audio.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
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
from rig.protocol.messages import encode, media, server_time

WANTED_MS = 0.3
WANTED_CORE = 0.5
MASK = b"\x11\x22\x33\x44"
QUESTION = encode_frame("text", encode("server/time", server_time(1, 2, 3)), mask=MASK)
ANSWER = encode_frame("text", b'{"type":"client/time","payload":{"client_transmitted":123456789}}')
AUDIO = encode_frame("binary", media(1, bytes(4_800)), mask=MASK)  # 25 ms of 48 kHz stereo PCM
AUDIO_BITS_S = 20_000_000


@dataclass(frozen=True)
class At:
    port: int
    host: str = "127.0.0.1"
    path: str = "/sendspin"


def head(sock: socket.socket) -> bytes:
    data = b""
    while not data.endswith(HEAD_END):
        data += sock.recv(4_096)
    return data


def be_device() -> None:
    """Answer each question; swallow audio."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(upgrade_answer(header(head(sock), "Sec-WebSocket-Key") or ""))
        while data := sock.recv(262_144):
            if data.startswith(b"\x81"):
                sock.sendall(ANSWER)
        sock.close()


async def be_link(port: int) -> None:
    """Relay until standard input ends; then print the CPU seconds used."""
    with tempfile.TemporaryDirectory() as folder, HistoryStore(Path(folder) / "h.jsonl") as store:
        async with Link(At(port), store.append) as link:
            url = await link.listen()
            print(url.split(":")[2].split("/")[0], flush=True)
            loop = asyncio.get_running_loop()
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                print(time.process_time() if line else "", flush=True)


def start(*role: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, __file__, *role],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def dial(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(upgrade_request("b", "/sendspin", new_key()))
    head(sock)
    return sock


def trips(port: int, n: int, pause: float) -> list[float]:
    """Milliseconds of each of `n` round trips."""
    took = []
    with dial(port) as sock:
        for _ in range(n):
            began = time.perf_counter()
            sock.sendall(QUESTION)
            got = 0
            while got < len(ANSWER):
                got += len(sock.recv(65_536))
            took.append((time.perf_counter() - began) * 1_000)
            if pause:
                time.sleep(pause)
    return took


def audio(port: int, seconds: float) -> float:
    """Play audio at its pace for `seconds`; the rate reached in bits a second."""
    with dial(port) as sock:
        began = time.perf_counter()
        sent = 0
        while (now := time.perf_counter() - began) < seconds:
            if sent * 8 > now * AUDIO_BITS_S:
                time.sleep(0.002)
                continue
            sock.sendall(AUDIO)
            sent += len(AUDIO)
        return sent * 8 / (time.perf_counter() - began)


def cpu(link: subprocess.Popen[str]) -> float:
    assert link.stdin is not None
    assert link.stdout is not None
    link.stdin.write("cpu\n")
    link.stdin.flush()
    return float(link.stdout.readline())


def show(name: str, took: list[float]) -> None:
    cuts = statistics.quantiles(took, n=100)
    print(f"  {name:8} median {statistics.median(took):.3f} ms   p99 {cuts[98]:.3f} ms")


def main() -> int:
    """Run the benchmark, or play one of its parts."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--trips", type=int, default=2_000)
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--device", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--link", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.device:
        be_device()
    if given.link:
        asyncio.run(be_link(given.link))
        return 0
    device, direct_port = start("--device")
    link, link_port = start("--link", str(direct_port))
    good = True
    try:
        for name, pause in (("one after the other", 0.0), ("one every 2 ms", 0.002)):
            n = given.trips if not pause else given.trips // 4
            direct: list[float] = []
            through: list[float] = []
            spent = cpu(link)
            for _ in range(4):  # in turns, so that both meet the same load
                direct += trips(direct_port, n // 4, pause)
                through += trips(link_port, n // 4, pause)
            print(f"round trips, {name}:")
            show("direct", direct)
            show("link", through)
            added = statistics.median(through) - statistics.median(direct)
            good = good and added <= WANTED_MS
            print(f"  added    median {added:.3f} ms (wanted: at most {WANTED_MS})")
            own = (cpu(link) - spent) / n * 1_000
            print(
                f"  of it    {own:.3f} ms a trip is the link's own CPU; the rest is the scheduler's"
            )
        before = cpu(link)
        rate = audio(link_port, given.seconds)
        share = (cpu(link) - before) / given.seconds
        good = good and share <= WANTED_CORE and rate > 0.95 * AUDIO_BITS_S
        print(f"audio: {rate / 1e6:.1f} Mbit/s at {share:.2f} of a core (at most {WANTED_CORE})")
    finally:
        for process in (link, device):
            process.kill()
            process.wait()
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
