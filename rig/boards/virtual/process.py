"""The board as a process: its home folder, its control socket, and a clean end in every case.

In the home folder: `lock` (held while the board is plugged in), `uart` (link to the pty), `control`
(unix socket; one JSON object a line each way), `flash.bin`, `board.log` (the model's own errors).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
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
_ACTIONS = "status, reset, power, wifi, pacing, unplug"


@dataclass(slots=True)
class Options:
    """How to plug the board in."""

    home: Path = Path()
    number: int = 1
    namespace: bool = True
    passphrase: str = "only-a-model"
    idle: float = 3600.0
    ready: int | None = None
    """Descriptor of a socket on which to say that it is ready, or why not. Whoever started the
    board holds it by the other end, until it says `RELEASE` there."""


def _read_passphrase(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"cannot read it from {path}: {error}") from error


def options(arguments: list[str]) -> Options:
    """Read the command line; exits with 2 on wrong use."""
    what = "Plug a virtual board in, in the foreground."
    parser = argparse.ArgumentParser(prog="python -m rig.boards.virtual", description=what)
    add = parser.add_argument
    add("--home", type=Path, required=True, help="the board's own folder")
    add("--number", type=int, help="which board (default 1)")
    add("--no-netns", dest="namespace", action="store_false", help="loopback address even as root")
    add(
        "--ap-psk-file",
        dest="passphrase",
        type=_read_passphrase,
        help="file with the pass-phrase of the model's access point",
    )
    add("--idle", type=float, help="unplug after SECONDS without a client")
    add("--ready-fd", dest="ready", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments, Options())


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
        home, number = self._options.home, self._options.number
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, self._over.set)
        mac = mac_address(home, number)
        with NorFlash(home / "flash.bin") as flash:
            self.network, self._why = await open_network(
                f"{home.resolve()}#{number}", mac, namespace=self._options.namespace
            )
            self.uart = Uart()
            self.chip = Chip(
                flash=flash,
                uart=self.uart,
                network=self.network,
                access_point=AccessPoint(passphrase=self._options.passphrase),
                mac=mac,
                application=self._application,
                failed=self._failed,
            )
            (home / "uart.new").unlink(missing_ok=True)
            (home / "uart.new").symlink_to(self.uart.path)
            (home / "uart.new").rename(home / "uart")
            (home / "control").unlink(missing_ok=True)
            with short_path(home) as short:
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
            left = seen + self._options.idle - time.monotonic()
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
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        match request:
            case {"do": "status"}:
                pass
            case {"do": "reset"}:
                await self.chip.reset(download=bool(request.get("download")))
            case {"do": "power"}:
                await self.chip.power(bool(request.get("on", True)))
            case {"do": "wifi"}:
                self.chip.access_point.on = bool(request.get("up", True))
                self.network.on_air()
            case {"do": "pacing"}:
                self.uart.paced = bool(request.get("on", True))
            case {"do": "unplug"}:  # after the answer
                asyncio.get_running_loop().call_later(0.02, self._over.set)
            case _:
                return {"ok": False, "error": f'a request is {{"do": one of {_ACTIONS}}}'}
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


def _new_loop() -> asyncio.AbstractEventLoop:
    """With timers of microseconds; epoll waits whole milliseconds, a firmware's turn is 7."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main(arguments: list[str], application: Application) -> int:
    """Plug the board in and stay; the process's exit code.

    With `--ready-fd` it goes to the background and reports there, as one JSON object.
    """
    chosen = options(arguments)
    if chosen.ready is not None and os.fork():
        return 0
    said: dict[str, Any] = {"busy": True}
    try:
        if take_lock(chosen.home) is not None:
            run = Process(chosen, application).run()
            return asyncio.run(run, loop_factory=_new_loop)
        problem = BoardError(f"the virtual board in {chosen.home} is plugged in already")
    except BoardError as error:
        problem = error
        said = {"error": error.message, "hint": error.hint}
    if chosen.ready is None:
        print(f"rig: {problem}", file=sys.stderr)  # noqa: T201 - this is the program's front door
    else:
        os.write(chosen.ready, json.dumps(said).encode() + b"\n")
    return problem.exit_code
