"""The virtual board as an emulator shows a chip: one TCP port, no reset lines, restarts by command.

    python tcp_front.py run HOME PORT         the machine anew: it boots from flash
    python tcp_front.py download HOME PORT    the machine anew: it stays in its ROM loader

Like QEMU's `-serial tcp:...,server,nowait`: one client at a time, a second waits in the backlog;
what is printed while nobody is attached is lost; a restart takes the port away for a moment.
`--slow S`: the command takes so long. `--after S`: it returns at once, and the machine restarts S
seconds later. `--keep`: the chip is reset, the machine's process and port stay (`system_reset`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from rig.boards.virtual.board import VirtualBoard, VirtualSettings


def reset(home: Path, *, download: bool) -> None:
    """Reset the chip."""
    board = VirtualBoard("front", VirtualSettings(home=home, namespace=False))
    asyncio.run(board.reset(download=download))


def serve(home: Path, port: int, *, download: bool) -> None:
    """The machine: its port, then its chip. Carries bytes for one client after another."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1)
    reset(home, download=download)
    chip = os.open(home / "uart", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    while True:
        client = _accept(listener, chip)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, contextlib.suppress(OSError):
            _carry(client, chip)


def _accept(listener: socket.socket, chip: int) -> socket.socket:
    """The next client; what the chip says meanwhile is lost."""
    while True:
        ready, _, _ = select.select([listener, chip], [], [])
        if listener in ready:
            return listener.accept()[0]
        os.read(chip, 65536)


def _carry(client: socket.socket, chip: int) -> None:
    while True:
        ready, _, _ = select.select([client, chip], [], [])
        if chip in ready:
            client.sendall(os.read(chip, 65536))
        if client in ready:
            data = client.recv(65536)
            if not data:
                return
            while data:
                select.select([], [chip], [])
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(chip, data) :]


def stop(home: Path) -> None:
    """End the machine that runs, as a kill does."""
    pid = home / "front.pid"
    if pid.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)
        pid.unlink()


def restart(home: Path, port: int, *, download: bool) -> None:
    """The machine anew; it is under way when this returns, and may not listen yet."""
    stop(home)
    home.mkdir(parents=True, exist_ok=True)
    words = ["download" if download else "run", str(home), str(port), "--serve"]
    with (home / "front.log").open("ab") as log:
        front = subprocess.Popen(
            [sys.executable, __file__, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (home / "front.pid").write_text(str(front.pid))


def main() -> None:
    """The commands of the bench file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("run", "download"))
    parser.add_argument("home", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--after", type=float, default=0.0)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--serve", action="store_true")
    asked = parser.parse_args()
    download = asked.what == "download"
    if asked.serve:
        serve(asked.home, asked.port, download=download)
    if asked.after:
        if os.fork():
            return
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
    time.sleep(asked.after + asked.slow)
    if asked.keep and (asked.home / "front.pid").exists():
        reset(asked.home, download=download)
    else:
        restart(asked.home, asked.port, download=download)


if __name__ == "__main__":
    main()
