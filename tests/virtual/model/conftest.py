"""The firmware model in this process: under it a fake chip, against it a peer without manners."""

from __future__ import annotations

import asyncio
import base64
import json
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.boards.virtual.app import app_main
from rig.boards.virtual.firmware import AppImage, parse_app
from rig.boards.virtual.system import Restart

BUNDLES = Path(__file__).resolve().parents[3] / "fixtures" / "firmware"
KEY = base64.b64encode(b"sixteen bytes it").decode()


class FakeSystem:
    """A fake chip: one boot of it. The real one is tested by itself."""

    mac = bytes.fromhex("7edfa1000001")

    def __init__(self, image: AppImage, store: dict[tuple[str, str], Any], port: int) -> None:
        self.image = image
        self.port = port
        self.lines: list[str] = []
        self.printed = threading.Condition()
        self.typed: asyncio.Queue[str] = asyncio.Queue()
        self.sockets: list[socket.socket] = []
        self.listening = threading.Event()
        self._store = store
        self._began = time.monotonic_ns()

    def say(self, text: str) -> None:
        with self.printed:
            self.lines.append(text)
            self.printed.notify_all()

    def log(self, level: str, tag: str, text: str) -> None:
        self.say(f"{level} ({self.millis()}) {tag}: {text}")

    async def uart_line(self) -> str:
        return await self.typed.get()

    def millis(self) -> int:
        return self.micros() // 1000

    def micros(self) -> int:
        return (time.monotonic_ns() - self._began) // 1000

    @property
    def nvs(self) -> FakeSystem:
        return self

    def get(self, namespace: str, key: str) -> Any:
        return self._store.get((namespace, key))

    def put(self, namespace: str, key: str, value: Any) -> None:
        self._store[namespace, key] = value

    async def wifi_join(self) -> str:
        return "127.0.0.1"

    def listen(self, port: int, backlog: int) -> socket.socket:
        assert port == 8928
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        sock.listen(backlog)
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        self.listening.set()
        return sock

    def adopt(self, sock: socket.socket) -> None:
        self.sockets.append(sock)


class Device:
    """The application on a fake chip, in a thread of its own; it reboots after a panic."""

    def __init__(self, version: str) -> None:
        self._image = parse_app((BUNDLES / version / "sendspin-speaker.bin").read_bytes())
        self.store: dict[tuple[str, str], Any] = {}
        self.panics: list[list[str]] = []
        self.broken: BaseException | None = None
        self.system = FakeSystem(self._image, self.store, 0)
        self._over = False
        self._seen = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.system.listening.wait(10)

    def _run(self) -> None:
        with asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
        ) as runner:
            self._loop = runner.get_loop()
            try:
                runner.run(self._live())
            except BaseException as error:  # noqa: BLE001 - handed to the test by `close`
                self.broken = error

    async def _live(self) -> None:
        while not self._over:
            self._task = asyncio.create_task(app_main(self.system))
            try:
                await self._task
            except Restart:
                self._reboot()
            except asyncio.CancelledError:
                return

    def _reboot(self) -> None:
        old = self.system
        self.system = FakeSystem(self._image, self.store, old.port)
        with self._changed:  # before the sockets: who sees them end may ask for the panic
            self.panics.append(old.lines)
            self._changed.notify_all()
        for sock in old.sockets:
            if sock.fileno() != -1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()

    @property
    def log(self) -> str:
        return "\n".join(self.system.lines)

    def type(self, line: str) -> None:
        self._loop.call_soon_threadsafe(self.system.typed.put_nowait, line)

    def wait_log(self, text: str, seconds: float = 10) -> None:
        system = self.system
        with system.printed:
            found = system.printed.wait_for(lambda: text in "\n".join(system.lines), seconds)
        assert found, f"no {text!r} in:\n{self.log}"

    def panicked(self) -> bool:
        """Whether it did since this was last asked."""
        seen, self._seen = self._seen, len(self.panics)
        return self._seen > seen

    def wait_panic(self, count: int = 1, seconds: float = 10) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.panics) >= count, seconds), self.log
        assert self.system.listening.wait(10)
        return self.panics[-1]

    def close(self) -> None:
        self._over = True
        self._loop.call_soon_threadsafe(lambda: self._task.cancel())
        self._thread.join(10)
        for sock in self.system.sockets:
            sock.close()
        if self.broken is not None:
            raise self.broken


def client_frame(opcode: int, payload: bytes = b"", mask: bytes = b"\x12\x34\x56\x78") -> bytes:
    size = len(payload)
    head = bytes((0x80 | opcode,))
    head += bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class Peer:
    """A server's connection to the device: raw socket, own frame parser, no manners."""

    def __init__(self, device: Device, name: str, receive_buffer: int = 0) -> None:
        self.name = name
        self.early: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.status: int | None = None
        self.raw = b""
        self.ended = False
        self._data = b""
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect(("127.0.0.1", device.system.port))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def get(self, path: str = "/sendspin", **headers: str) -> None:
        lines = [f"GET {path} HTTP/1.1", "Host: device"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def upgrade(self) -> Peer:
        self.get(
            Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13",
            Sec_WebSocket_Key=KEY,
        )  # fmt: skip
        return self

    def say(self, kind: str, **payload: Any) -> None:
        self.send(client_frame(1, json.dumps({"type": kind, "payload": payload}).encode()))

    def hello(self, reason: str = "discovery", then: bytes = b"") -> None:
        payload = {
            "server_id": self.name, "name": self.name, "version": 1,
            "active_roles": ["player@v1"], "connection_reason": reason,
        }  # fmt: skip
        text = json.dumps({"type": "server/hello", "payload": payload}).encode()
        self.send(client_frame(1, text) + then)

    def establish(self, reason: str = "discovery") -> Peer:
        self.upgrade().wait("client/hello")
        self.hello(reason)
        self.wait("client/state")
        return self

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]

    def read(self, seconds: float) -> None:
        """Read what comes within `seconds`."""
        self._until(lambda: False, seconds)

    def wait(self, kind: str, seconds: float = 5) -> dict[str, Any]:
        self._until(lambda: kind in self.types, seconds)
        assert kind in self.types, f"no {kind} for {self.name}, only {self.early} {self.types}"
        return next(frame for frame in self.frames if frame["type"] == kind)

    def wait_status(self, seconds: float = 5) -> int:
        self._until(lambda: self.status is not None, seconds)
        assert self.status is not None
        return self.status

    def wait_end(self, seconds: float = 5) -> None:
        self._until(lambda: self.ended, seconds)
        assert self.ended, "the device did not end the connection"

    def _until(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done() and not self.ended and (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return
            except OSError:
                data = b""
            self.ended = not data
            self.raw += data
            self._data += data
            while self._parse():
                pass

    def _parse(self) -> bool:
        data = self._data
        if self.status is None and data.startswith(b"HTTP/1.1 "):
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                return False
            self.status, self._data = int(head.split()[1]), rest
            return True
        if len(data) < 4 and not (len(data) >= 2 and data[1] < 126 and len(data) >= 2 + data[1]):
            return False
        size, at = (int.from_bytes(data[2:4], "big"), 4) if data[1] == 126 else (data[1], 2)
        if self.status not in (None, 101) or len(data) < at + size:
            return False
        text, self._data = data[at : at + size], data[at + size :]
        opcode = data[0] & 15
        frame = json.loads(text) if opcode == 1 else {"type": f"opcode {opcode}", "data": text}
        (self.early if self.status is None else self.frames).append(frame)
        return True


@pytest.fixture
def boot() -> Iterator[Callable[[str], Device]]:
    """Boots a version: `boot("v0.7.0")`."""
    devices: list[Device] = []

    def start(version: str) -> Device:
        devices.append(Device(version))
        return devices[-1]

    yield start
    for device in devices:
        device.close()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Connects: `peer(device, "A")`."""
    peers: list[Peer] = []

    def connect(device: Device, name: str = "A", receive_buffer: int = 0) -> Peer:
        peers.append(Peer(device, name, receive_buffer))
        return peers[-1]

    yield connect
    for each in peers:
        each.sock.close()


@pytest.fixture
def frame() -> Callable[..., bytes]:
    """A masked frame: `frame(opcode, payload)`."""
    return client_frame
