"""The board as a process: its home folder, its control socket, and a clean end in every case.

In the home folder: `lock` (held while the board is plugged in), `uart` (link to the pty), `control`
(unix socket; one JSON object a line each way), `flash.bin`, `board.log` (the model's own errors).
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig.boards.virtual.chip import Application, Chip
from rig.boards.virtual.flash import NorFlash
from rig.boards.virtual.home import HOLD, READY, RELEASE, mac_address, short_path, take_lock
from rig.boards.virtual.net import open_network
from rig.boards.virtual.uart import Uart
from rig.boards.virtual.wifi import AccessPoint
from rig.errors import BoardError

_MAX_REQUEST = 4096


class Busy(BoardError):
    """Another process holds the home folder."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to plug the board in."""

    home: Path
    number: int = 1
    namespace: bool = True
    ssid: str = "virtual-air"
    passphrase: str = "only-a-model"
    idle_seconds: float = 3600.0
    """Unplugs itself after this long without a client on control, UART or network."""
    ready: int | None = None
    """Descriptor of a socket on which to say that it is ready, or why not. Whoever started the
    board holds it by the other end, until it says `RELEASE` there."""


class Process:
    """The running board: chip, UART and network, under the control socket."""

    def __init__(self, options: Options, application: Application) -> None:
        self._options = options
        self._application = application
        self._over = asyncio.Event()
        self._broken: BaseException | None = None
        self._last_control = time.monotonic()
        self._clients: set[asyncio.StreamWriter] = set()
        self._holders: set[asyncio.StreamWriter] = set()
        self._orphaned = False

    async def run(self) -> int:
        """Live until unplugged; the exit code. Raises `BoardError` when it cannot start."""
        home = self._options.home
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        mac = mac_address(home, self._options.number)
        seed = f"{home.resolve()}#{self._options.number}"
        with NorFlash(home / "flash.bin") as flash:
            self.network, self._why = await open_network(
                seed, mac, namespace=self._options.namespace
            )
            self.uart = Uart()
            self.chip = Chip(
                flash=flash,
                uart=self.uart,
                network=self.network,
                access_point=AccessPoint(self._options.ssid, self._options.passphrase),
                mac=mac,
                application=self._application,
                failed=self._failed,
            )
            with short_path(home) as short:
                _link(home / "uart", self.uart.path)
                (home / "control").unlink(missing_ok=True)
                server = await asyncio.start_unix_server(
                    self._client, f"{short}/control", limit=_MAX_REQUEST
                )
            starter = None
            try:
                await self.chip.power(True)
                starter = await self._say_ready()
                await self._until_unplugged()
            finally:
                server.close()
                if starter is not None:
                    starter.cancel()
                for writer in list(self._clients):
                    writer.close()
                await self.chip.power(False)
                await self.network.close()
                self.uart.close()
                for name in ("uart", "control"):
                    (home / name).unlink(missing_ok=True)
        if self._broken is not None:
            traceback.print_exception(self._broken)
            return 70
        return 0

    def _failed(self, error: BaseException) -> None:
        self._broken = error
        self._over.set()

    async def _say_ready(self) -> asyncio.Task[None] | None:
        """Tell whoever started the board, who holds it from then on."""
        if self._options.ready is None:
            return None
        sock = socket.socket(fileno=self._options.ready)
        sock.sendall(READY)
        reader, writer = await asyncio.open_connection(sock=sock)
        self._holders.add(writer)
        return asyncio.create_task(self._client(reader, writer))

    async def _until_unplugged(self) -> None:
        while not self._over.is_set():
            seen = max(self._last_control, self.uart.last_client)
            busy = self.chip.system is not None and self.chip.system.sockets
            if self._clients or self.uart.attached or busy:
                seen = time.monotonic()
            left = seen + self._options.idle_seconds - time.monotonic()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._over.wait(), min(left, 60.0) + 0.01)
            except TimeoutError:
                continue

    # -- control ----------------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests `{"do": NAME, ...}`, each answered by an object with `ok`.

        Whoever said `HOLD` (answered by `READY`) and goes without a `RELEASE` (not answered) was
        killed: the board is unplugged then, once nobody else holds it, so that nothing of it is
        left on the host.
        """
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                if line == HOLD:
                    self._holders.add(writer)
                    writer.write(READY)
                elif line == RELEASE:
                    self._holders.discard(writer)
                else:
                    writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
                self._last_control = time.monotonic()
        except (ConnectionError, ValueError):  # gone, or a line longer than any request
            return
        finally:
            self._clients.discard(writer)
            self._orphaned |= writer in self._holders
            self._holders.discard(writer)
            if self._orphaned and not self._holders:
                self._over.set()
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        actions: dict[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "status": self._nothing,
            "reset": self._reset,
            "power": self._power,
            "wifi": self._wifi,
            "pacing": self._pacing,
            "unplug": self._unplug,
        }
        try:
            request = json.loads(line)
            action = actions[request["do"]]
        except (ValueError, KeyError, TypeError):
            return {"ok": False, "error": f'a request is {{"do": one of {", ".join(actions)}}}'}
        await action(request)
        return {"ok": True, **self.status()}

    def status(self) -> dict[str, Any]:
        """What the board's owner may want to know."""
        chip, network, system = self.chip, self.network, self.chip.system
        return {
            "pid": os.getpid(),
            "uart": self.uart.path,
            "mac": chip.mac.hex(":"),
            "state": chip.state,
            "firmware": system and system.firmware,
            "address": network.address,
            "joined": bool(system and system.station and system.station.joined),
            "network": network.kind,
            "interface": network.interface,
            "no_namespace": self._why,
        }

    async def _nothing(self, _request: dict[str, Any]) -> None: ...

    async def _reset(self, request: dict[str, Any]) -> None:
        await self.chip.reset(download=bool(request.get("download")))

    async def _power(self, request: dict[str, Any]) -> None:
        await self.chip.power(bool(request.get("on", True)))

    async def _wifi(self, request: dict[str, Any]) -> None:
        self.chip.access_point.on = bool(request.get("up", True))
        self.network.on_air()

    async def _pacing(self, request: dict[str, Any]) -> None:
        self.uart.paced = bool(request.get("on", True))

    async def _unplug(self, _request: dict[str, Any]) -> None:
        asyncio.get_running_loop().call_later(0.02, self._over.set)  # after the answer


def _link(link: Path, target: str) -> None:
    fresh = link.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.rename(link)


def _new_loop() -> asyncio.AbstractEventLoop:
    """With timers of microseconds; epoll waits whole milliseconds, a firmware's turn is 7."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main(options: Options, application: Application) -> int:
    """Plug the board in and stay; the process's exit code.

    With `options.ready` it goes to the background and reports there, as one JSON object.
    """
    if options.ready is not None and os.fork():
        return 0
    try:
        lock = take_lock(options.home)
        if lock is None:
            raise Busy(f"the virtual board in {options.home} is plugged in already")
        return asyncio.run(Process(options, application).run(), loop_factory=_new_loop)
    except BoardError as error:
        busy = isinstance(error, Busy)
        said: dict[str, Any] = (
            {"busy": True} if busy else {"error": error.message, "hint": error.hint}
        )
        if options.ready is None:
            print(f"rig: {error}", file=sys.stderr)  # noqa: T201 - this is the program's front door
        else:
            os.write(options.ready, json.dumps(said).encode() + b"\n")
        return error.exit_code
