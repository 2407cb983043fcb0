"""A laboratory of two network namespaces and a veth, made and unmade by each test that asks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

OWN, DEVICE, PORT = "10.55.0.1", "10.55.0.2", 8928
LINK = "srigtest"


def sh(command: str) -> str:
    """Run a fixed command line of a test; its standard output."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=True, timeout=20)
    return done.stdout


@contextlib.contextmanager
def inside(namespace: int) -> Iterator[None]:
    """This thread is in a network namespace for as long as this lasts."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        os.setns(namespace, os.CLONE_NEWNET)
        yield
    finally:
        os.setns(here, os.CLONE_NEWNET)
        os.close(here)


@dataclass
class Lab:
    """The test's own network: this thread is the server's host, the device is behind a veth."""

    device_namespace: int
    home: Path
    own: str = OWN
    device: str = DEVICE
    port: int = PORT
    interface: str = f"{LINK}0"
    """The host's end of the veth."""

    def sh(self, line: str) -> str:
        """Run a fixed command line; its standard output."""
        return sh(line)

    def listen(self) -> socket.socket:
        """A socket that listens where the device is."""
        with inside(self.device_namespace):
            listener = socket.create_server((DEVICE, PORT))
        listener.setblocking(False)
        return listener

    async def connected(self) -> tuple[socket.socket, socket.socket]:
        """A TCP connection across the veth: the server's side and the device's."""
        loop = asyncio.get_running_loop()
        with self.listen() as listener:
            server = socket.socket()
            server.setblocking(False)
            await loop.sock_connect(server, (DEVICE, PORT))
            device, _ = await loop.sock_accept(listener)
        device.setblocking(False)
        return server, device

    def traces(self) -> str:
        """All that a fault could change on this host, and whoever listens or waits for packets."""
        nft = sh("nft -s list ruleset") if shutil.which("nft") else ""
        links = [
            (name, "UP" in flags.split(","))  # the operational state comes late
            for name, flags in re.findall(r"^\d+: (\S+): <(\S*)>", sh("ip link"), re.MULTILINE)
        ]
        queues = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
        return "\n".join(
            [
                nft,
                re.sub(r"_stat \d+", "", sh("tc qdisc show")),
                str(links),
                sh("ip -4 -o addr"),
                sh("ip -4 route show table all"),
                sh("ip rule"),
                sh("ip netns list"),
                str(len(Path("/proc/thread-self/net/packet").read_text().splitlines())),
                queues.read_text() if queues.exists() else "",
            ]
        )


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Two namespaces and a veth between them; journals in a folder of the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root (network namespaces)")
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (iproute2)")
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(tmp_path / "locks"))  # each lab has this address
    before = host = device = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        os.unshare(os.CLONE_NEWNET)
        host = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        sh("ip link set lo up")
        os.unshare(os.CLONE_NEWNET)
        device = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        sh("ip link set lo up")
        sh(f"ip link add {LINK} type veth peer name {LINK}0 netns /proc/{os.getpid()}/fd/{host}")
        sh(f"ip addr add {DEVICE}/24 dev {LINK}")
        sh(f"ip link set {LINK} up")
        os.setns(host, os.CLONE_NEWNET)
        sh(f"ip addr add {OWN}/24 dev {LINK}0")
        sh(f"ip link set {LINK}0 up")
        while f"{LINK}0@if2 UP" not in " ".join(sh("ip -br link").split()):
            pass  # the carrier takes a moment
        yield Lab(device, tmp_path / "home")
    finally:
        os.setns(before, os.CLONE_NEWNET)
        for fd in {before, host, device}:
            os.close(fd)


@pytest.fixture
def tcpdump(tmp_path: Path) -> Iterator[Tcpdump]:
    """A capture by another tool than the rig's."""
    if shutil.which("tcpdump") is None:
        pytest.skip("needs tcpdump")
    with Tcpdump(tmp_path / "witness.pcap") as dump:
        yield dump


class Tcpdump:
    """tcpdump on the host's end of the veth, from `start` on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[str] | None = None

    def start(self, interface: str = f"{LINK}0") -> None:
        """Returns once it listens."""
        self._end = ("127.0.0.1" if interface == "lo" else DEVICE, 9)
        self._process = subprocess.Popen(
            ["tcpdump", "-i", interface, "-n", "-U", "--immediate-mode", "-w", str(self.path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        while "listening on" not in self._process.stderr.readline():
            assert self._process.poll() is None, "tcpdump did not start"

    def packets(self) -> list[str]:
        """Stop, and what was captured: one line a packet, absolute sequence numbers."""
        self.stop()
        return sh(f"tcpdump -n -S -e -r {self.path}").splitlines()

    def stop(self) -> None:
        """End it, once it has written what came: it is behind on a busy machine."""
        if self._process is not None:
            self._wait_for_a_last_packet()
            self._process.terminate()
            self._process.communicate(timeout=10)
            self._process = None

    def _wait_for_a_last_packet(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            try:
                last.sendto(b"the last packet", self._end)
            except OSError:
                return  # the link is down
        deadline = time.monotonic() + 5
        while b"the last packet" not in self.path.read_bytes() and time.monotonic() < deadline:
            pass

    def __enter__(self) -> Tcpdump:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
