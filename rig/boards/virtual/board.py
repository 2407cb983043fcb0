"""The virtual board as the rig holds it: plugged in when first needed, found again by its home."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rig.boards.base import Address, FlashPort, Identity
from rig.boards.home import state_folder
from rig.boards.virtual.home import HOLD, READY, RELEASE, mac_address, open_in, short_path
from rig.errors import BoardError

COMMAND = (sys.executable, "-m", "rig.boards.virtual")
FIRMWARE = Path(__file__).parents[3] / "fixtures" / "firmware"
"""The model's own bundles, one folder a version."""
HOLD_TRIES = 3
"""How often a board that unplugs itself meanwhile is started again."""
START_SECONDS = 20.0
"""Until the board's process must have said that it is ready."""
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class VirtualSettings:
    """Which board. `home` holds its flash; `namespace`: a network namespace, where root allows."""

    number: int = 1
    home: Path | None = None
    namespace: bool = True
    firmware: Path | None = None


class VirtualBoard:
    """Board `virtual:NUMBER`. Entering plugs it in; leaving leaves it running, like a real one.

    A process that is killed before it leaves unplugs it: nothing of it stays on the host.
    """

    kind = "virtual"
    can_reset = True
    can_power = True
    can_talk = True
    console_baud = 115_200
    Settings = VirtualSettings

    def __init__(
        self,
        name: str,
        settings: VirtualSettings | None = None,
        *,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`command` starts its process."""
        settings = settings or VirtualSettings()
        self.name = name
        self.number = settings.number
        self.home = (settings.home or state_folder() / f"virtual-{self.number}").absolute()
        self._command = [*command, *([] if settings.namespace else ["--no-netns"])]
        self._firmware = settings.firmware
        self._status: dict[str, Any] = {}
        self._holds: list[asyncio.StreamWriter] = []
        self._started: socket.socket | None = None
        self.console_writer: Callable[[bytes], Awaitable[None]] | None = None

    @classmethod
    def others(cls) -> list[str]:
        """The boards with a number above 1 that were plugged in before, by name."""
        homes = state_folder().glob("virtual-[0-9]*")
        numbers = sorted(int(home.name.removeprefix("virtual-")) for home in homes)
        return [f"virtual:{number}" for number in numbers if number > 1]

    @property
    def console_url(self) -> str | None:
        return str(self.home / "uart")

    @property
    def flash_port(self) -> FlashPort | None:
        """The same pty; it has no reset lines, so `reset` does that."""
        url = str(self.home / "uart")
        return FlashPort(url, chip="esp32c3", before="no-reset", after="no-reset")

    @property
    def address(self) -> Address | None:
        """Its Sendspin endpoint, once it was plugged in."""
        host = self._status.get("address")
        return Address(host) if host else None

    @property
    def interface(self) -> str | None:
        return self._status.get("interface")

    async def reset(self, *, download: bool = False) -> None:
        await self.control("reset", download=download)

    async def power(self, on: bool) -> None:
        await self.control("power", on=on)

    async def wifi(self, up: bool) -> None:
        await self.control("wifi", up=up)

    async def status(self) -> dict[str, Any]:
        """What the board says of itself (`process.Process.status`)."""
        return await self.control("status")

    @property
    def firmware(self) -> Path | None:
        """The bench's, else the newest of the model's own, where the source tree is there."""
        return self._firmware or next(iter(sorted(FIRMWARE.glob("v*"), reverse=True)), None)

    async def talk(self, count: int) -> bool:
        """Type `talk COUNT` on its console."""
        typed = f"talk {count}\n".encode()
        if self.console_writer is not None:
            await self.console_writer(typed)
            return True
        await self._plug_in()
        port = os.open(self.home / "uart", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            os.write(port, typed)
        finally:
            os.close(port)
        return True

    async def unplug(self) -> bool:
        """End its process; False: it has none. The flash keeps its content."""
        answer = await self._ask({"do": "unplug"})
        if answer is None:
            return False
        await asyncio.to_thread(_wait_for_end, self.home / "lock")
        return True

    async def state(self) -> str:
        """What runs on it, without plugging it in."""
        answer = await self._ask({"do": "status"})
        self._status = answer or self._status
        return str(answer.get("state", "plugged in")) if answer else "unplugged"

    async def identity(self) -> Identity:
        """As it says itself, without plugging it in."""
        answer = await self._ask({"do": "status"}) or {}
        mac = mac_address(self.home, self.number).hex(":")
        return Identity(mac, "ESP32-C3", "v0.4", answer.get("firmware"))

    def remember(self, identity: Identity) -> None:
        """Needless: it says so itself."""

    async def __aenter__(self) -> Self:
        for _ in range(HOLD_TRIES):
            await self._find_or_start()
            if await self.hold():
                self._let_go_of_start()
                return self
        raise BoardError(
            f"the virtual board {self.name} does not stay: it went or fell silent when asked to",
            hint=f"rig unplug {self.name}; any rig command plugs it in again",
        )

    async def hold(self) -> bool:
        """Hold the board until `__aexit__`. False: it has gone, or does not answer.

        It is waited for until it knows: else a busy one may see another holder's death first, and
        unplug itself under this one.
        """
        try:
            with short_path(self.home) as short:
                reader, writer = await asyncio.open_unix_connection(f"{short}/control")
        except OSError:
            return False
        writer.write(HOLD)
        try:
            known = await asyncio.wait_for(reader.readline(), ANSWER_SECONDS)
        except (OSError, TimeoutError):
            known = b""
        if not known:
            writer.close()
            return False
        self._holds.append(writer)
        return True

    async def __aexit__(self, *exc: object) -> None:
        """Let go of it: the board goes on."""
        if self._holds:
            writer = self._holds.pop()
            writer.write(RELEASE)
            writer.close()

    async def control(self, what: str, **fields: Any) -> dict[str, Any]:
        """One request to the board's control socket; plugs it in first. Raises `BoardError`."""
        await self._plug_in()
        answer = await self._ask({"do": what, **fields})
        if answer is None or not answer.get("ok"):
            why = answer.get("error") if answer else "its process is gone"
            raise BoardError(
                f"the virtual board {self.name} did not take '{what}': {why}",
                hint=f"see {self.home / 'board.log'}; any rig command plugs it in again",
            )
        self._status = answer
        return answer

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, None when nobody holds the control socket."""
        try:
            with short_path(self.home) as short:
                reader, writer = await asyncio.open_unix_connection(f"{short}/control")
        except OSError:
            return None
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            line = await asyncio.wait_for(reader.readline(), ANSWER_SECONDS)
            return dict(json.loads(line)) if line else None
        except (OSError, TimeoutError, ValueError):
            return None
        finally:
            writer.close()

    async def _plug_in(self) -> None:
        await self._find_or_start()
        self._let_go_of_start()

    def _let_go_of_start(self) -> None:
        """Who starts a board holds it, so that being killed meanwhile leaves none behind."""
        if self._started is not None:
            with contextlib.suppress(OSError):
                self._started.sendall(RELEASE)
            self._started.close()
            self._started = None

    async def _find_or_start(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while (answer := await self._ask({"do": "status"})) is None:
            said = await self._start()
            if said.get("error"):
                raise BoardError(said["error"], hint=said.get("hint"))
            if asyncio.get_running_loop().time() > deadline:
                raise BoardError(
                    f"the virtual board {self.name} did not start within {START_SECONDS:.0f} s",
                    hint=f"see {self.home / 'board.log'}",
                )
        self._status = answer

    async def _start(self) -> dict[str, Any]:
        """Start its process, detached; what that said: ready, busy, or an error."""
        ours, theirs = socket.socketpair()
        where = ["--home", str(self.home), "--number", str(self.number)]
        with open_in(self.home, "board.log") as log, theirs:
            process = subprocess.Popen(  # noqa: ASYNC220 - it goes to the background at once
                [*self._command, *where, "--ready-fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.settimeout(START_SECONDS)
        line = await asyncio.to_thread(_read_line, ours)
        if not line:
            process.kill()
        await asyncio.to_thread(process.wait)
        if line == READY:
            self._started = ours
        else:
            ours.close()
        if line:
            return dict(json.loads(line))
        why = f"the virtual board {self.name} could not start"
        path = self.home / "board.log"
        tail = path.read_text(errors="replace").strip().splitlines()
        return {"error": ": ".join([why, *tail[-1:]]), "hint": f"see {path}"}


def _read_line(sock: socket.socket) -> bytes:
    """What the board says; nothing when it falls silent."""
    with contextlib.suppress(TimeoutError), sock.makefile("rb") as lines:
        return lines.readline()
    return b""


def _wait_for_end(lock: Path) -> None:
    """Wait until no process holds the board's lock."""
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
