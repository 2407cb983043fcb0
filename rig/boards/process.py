"""A program on this machine as a board: started by a command, heard on its output, then ended.

For devices that run anywhere: a host build of sendspin-cpp, a player in Node or Python. The command
is started when the board is entered, in a session of its own, and killed with all it started when
the board is left; a rig that is killed takes it along (Linux).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from rig.boards.base import Address, FlashPort
from rig.boards.home import state_folder
from rig.boards.plain import parse_address
from rig.errors import BenchError, BoardError

_SHELL = frozenset("|&;<>()$`*?[#~=\n")
"""What only a shell understands. Without it the program is started itself: then it is the one that
dies with the rig, and not a shell before it."""
RESTART_S = 0.5
"""How long a program that ended by itself stays down."""
END_S = 2.0
"""How long a program may take to end by itself after SIGTERM."""
GONE_S = 1.0
"""How long what it left behind may take to be gone after SIGKILL."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """The keys of a process's `[boards.NAME]` table (docs/bench.md)."""

    command: str
    """What is run (in `/bin/sh` where it needs one); what it prints is the board's console."""
    address: str
    """`host[:port][/path]` of its Sendspin endpoint."""
    talk: str | None = None
    """Text for its standard input that makes it queue `{n}` states at once."""

    def __post_init__(self) -> None:
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise BenchError(f"command: {self.command!r} is no command: {error}") from error
        if not words:
            raise BenchError("command: expected what to run, found nothing", hint="a command")
        parse_address(self.address)
        if self.talk is not None and "{n}" not in self.talk:
            raise BenchError("talk: no {n} in it, where the number of states goes", hint="{n}")


class ProcessBoard:
    """A board whose power switch is a process's life."""

    kind = "process"
    console_baud = 115_200
    can_reset = True
    firmware: Path | None = None
    flash_port: FlashPort | None = None
    Settings: ClassVar[type[ProcessSettings]] = ProcessSettings

    def __init__(self, name: str, settings: ProcessSettings) -> None:
        self.name = name
        self.settings = settings
        self.console_writer: Callable[[bytes], Awaitable[None]] | None = None
        self._pipe = state_folder() / "processes" / f"{name}.console"
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._fresh = False
        self._kept: int | None = None
        """Keeps the pipe, and what is in it, from vanishing when the program has ended."""

    @property
    def console_url(self) -> str | None:
        """A named pipe: what the program prints waits in it until somebody listens."""
        return str(self._pipe)

    @property
    def address(self) -> Address | None:
        """As the bench file has it."""
        return parse_address(self.settings.address)

    @property
    def can_talk(self) -> bool:
        """Whether the bench file says how."""
        return self.settings.talk is not None

    async def talk(self, count: int) -> bool:
        """Type the bench's text on its standard input; False where there is none."""
        if self.settings.talk is None:
            return False
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise BoardError(f"{self.name} is not running", hint="its last words are in the log")
        process.stdin.write(self.settings.talk.replace("{n}", str(count)).encode())
        try:
            await process.stdin.drain()
        except ConnectionError as error:
            raise BoardError(f"{self.name} takes no input any more: {error}") from error
        return True

    async def reset(self, *, download: bool = False) -> None:
        """End it and start it again; the first one after entering is that start itself."""
        if download:
            raise BoardError(f"{self.name} is a process: it has no download mode")
        fresh, self._fresh = self._fresh, False
        if fresh and self._process is not None and self._process.returncode is None:
            return
        await self._end()
        await self._start()

    async def __aenter__(self) -> Self:
        """Start it. Raises `BoardError` when that cannot be."""
        self._pipe.parent.mkdir(parents=True, exist_ok=True)
        self._pipe.unlink(missing_ok=True)
        os.mkfifo(self._pipe, 0o600)
        self._kept = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            await self._start()
        except BaseException:
            self._forget()
            raise
        self._fresh = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End it, with all it started."""
        try:
            await self._end()
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._kept is not None:
            os.close(self._kept)
            self._kept = None
        self._pipe.unlink(missing_ok=True)

    async def _start(self) -> None:
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None

        def die_with_the_rig() -> None:
            if libc is not None:
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        output = os.open(self._pipe, os.O_RDWR | os.O_CLOEXEC)  # never waits for a reader
        try:
            self._process = await asyncio.create_subprocess_exec(
                *_words(self.settings.command),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_the_rig,
            )
        except OSError as error:
            os.close(output)
            raise BoardError(
                f"{self.name} cannot be started: {error.strerror}: {self.settings.command}",
                hint="its `command` in the bench file: is the program installed, and on the PATH?",
            ) from error
        self._watch = asyncio.create_task(self._told(self._process, output))

    async def _told(self, process: asyncio.subprocess.Process, output: int) -> None:
        """Say on the console that it ended by itself, and how; then start it again, as a board
        that crashed reboots."""
        try:
            code = await process.wait()
            how = f"with {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
            if self._process is not process:
                return  # the rig ended it
            os.set_blocking(output, False)
            with contextlib.suppress(BlockingIOError):
                os.write(output, f"\nprocess ended {how} (pid {process.pid})\n".encode())
        finally:
            os.close(output)
        await asyncio.sleep(RESTART_S)
        if self._process is process:
            await self._start()

    async def _end(self) -> None:
        process, self._process = self._process, None
        watch, self._watch = self._watch, None
        if process is None or watch is None:
            return
        for number, patience in ((signal.SIGTERM, END_S), (signal.SIGKILL, END_S)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(watch), patience)
                break
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind
            async with asyncio.timeout(GONE_S):
                while True:  # none of them is a child of ours: nobody tells when it is gone
                    os.killpg(process.pid, 0)
                    await asyncio.sleep(0.005)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        if process.stdin is not None:
            process.stdin.close()


def _words(command: str) -> list[str]:
    if _SHELL.isdisjoint(command):
        return shlex.split(command)
    return ["/bin/sh", "-c", command]
