"""The rig's side of the air: starts the helper, asks it, hears what it saw.

No privilege, no netlink and no scapy here. Leaving the context ends the helper, which takes every
fault back; should the helper have been killed, another one heals after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from rig.air.leftovers import folder as journal_folder
from rig.air.leftovers import leftovers
from rig.air.privilege import command as helper_command
from rig.air.protocol import (
    AnyCommand,
    Begin,
    BoardAddress,
    Count,
    Done,
    Heal,
    Over,
    Refused,
    Request,
    Seen,
    decode_answer,
    encode,
)
from rig.errors import FaultError

START_S = 15.0
"""How long the helper may take to start and to heal what another one left."""
ANSWER_S = 10.0
CLOSE_S = 10.0
_LONGEST_ANSWER = 1 << 20


class Supply(Protocol):
    """A power supply that is off for a while, and on again even if this process is killed."""

    async def off(self) -> None:
        """Switch off."""

    async def on(self) -> None:
        """Switch on; idempotent."""


@dataclass(frozen=True, slots=True)
class Radio:
    """What of the radio the bench names."""

    hostapd: str | None = None
    """hostapd's control socket."""
    hotspot: str | None = None
    """A NetworkManager connection."""
    monitors: tuple[str, ...] = ()
    """Monitor interfaces."""
    bssid: str | None = None
    """The access point's link address."""
    supply: Supply | None = None
    """What switches its power; in this process, without the helper."""


class Air:
    """The air around some boards. An async context manager.

    `boards` are addresses by name, fixed for its life, and `ports` where each listens: needed for
    an address that is this host's own. `folder` is where captures are written.
    `on_seen` and `on_over` are called with what the helper says by itself.
    """

    def __init__(
        self,
        boards: Mapping[str, str],
        *,
        ports: Mapping[str, int] | None = None,
        folder: Path | None = None,
        run: str | None = None,
        radio: Radio | None = None,
    ) -> None:
        self.run = run or f"{os.getpid() % 36**4:04d}{secrets.token_hex(3)}"[-10:]
        self.journal = journal_folder()
        self.on_seen: Callable[[Seen], None] = lambda _seen: None
        self.on_over: Callable[[Over], None] = lambda _over: None
        self._begin = Begin(
            run=self.run,
            journal=str(self.journal.absolute()),
            boards=tuple(
                BoardAddress(name, address, (ports or {}).get(name))
                for name, address in boards.items()
            ),
            monitors=radio.monitors if radio else (),
            hostapd=radio.hostapd if radio else None,
            hotspot=radio.hotspot if radio else None,
            bssid=radio.bssid if radio else None,
            folder=None if folder is None else str(folder.absolute()),
        )
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last_words: Refused | None = None
        self._complaining: asyncio.Task[None] | None = None
        self._complaint = ""

    @property
    def pid(self) -> int:
        """The helper's process id (of sudo, where that started it)."""
        return self._process.pid if self._process else 0

    async def __aenter__(self) -> Self:
        """Start the helper. Raises `FaultError` when the rights or the kernel are not there."""
        line = await asyncio.to_thread(helper_command)
        self._process = await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST_ANSWER,
            start_new_session=True,  # Ctrl-C is the rig's to handle: it closes the pipe in order
        )
        self._reading = asyncio.ensure_future(self._read(self._process))
        self._complaining = asyncio.ensure_future(self._keep_complaints(self._process))
        try:
            await self.ask(self._begin, timeout=START_S)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def ask(self, command: AnyCommand, *, timeout: float = ANSWER_S) -> Done:
        """Have one command carried out. Raises `FaultError` when it was refused or is not heard."""
        process = self._process
        if process is None or process.stdin is None:
            raise FaultError("the air is not open")
        number = next(self._ids)
        answer: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            if self._reading is None or self._reading.done():
                raise self._gone()
            process.stdin.write(encode(Request(number, command)))
            await process.stdin.drain()
            async with asyncio.timeout(timeout):
                return await answer
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._gone() from error
        except TimeoutError as error:
            raise FaultError(
                f"the air helper did not answer {type(command).__name__} within {timeout:g} s",
                hint="`rig heal` takes back what it did",
            ) from error
        finally:
            self._waiting.pop(number, None)

    async def counts(self, effect: int) -> dict[str, int]:
        """What a fault has counted so far. Raises `FaultError` when it is not up."""
        return (await self.ask(Count(effect=effect))).counts

    async def heal(self, effect: int | None = None) -> dict[str, int]:
        """Take a fault back (all of them), and its last counts."""
        return (await self.ask(Heal(effect=effect))).counts

    async def aclose(self) -> None:
        """End the helper. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
        for task in (self._reading, self._complaining):
            if task is not None:
                await task
        if leftovers(self.journal):
            await asyncio.to_thread(_heal_now)

    def _gone(self) -> FaultError:
        if self._last_words is not None:
            return FaultError(self._last_words.error, hint=self._last_words.hint)
        words = f": {self._complaint}" if self._complaint else ""
        return FaultError(
            f"the air helper is gone{words or ': it was killed'}",
            hint="its faults are taken back at the end of this run, or by `rig heal`",
        )

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                answer = decode_answer(line)
            except ValueError:
                continue  # sudo's or a launcher's own words
            match answer:
                case Done():
                    self._settle(answer.id, answer)
                case Refused(id=None):
                    self._last_words = answer
                case Refused():
                    error = FaultError(answer.error, hint=answer.hint)
                    self._settle(answer.id, error)
                case Seen():
                    self.on_seen(answer)
                case Over():
                    self.on_over(answer)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self._gone())

    async def _keep_complaints(self, process: asyncio.subprocess.Process) -> None:
        """The last line of stderr: why it could not start, or of a traceback."""
        assert process.stderr is not None
        while chunk := await process.stderr.read(4096):
            words = (self._complaint + chunk.decode(errors="replace"))[-4096:]
            self._complaint = words.strip().rpartition("\n")[2]

    def _settle(self, number: int | None, result: Done | FaultError) -> None:
        waiting = self._waiting.get(number) if number is not None else None
        if waiting is None or waiting.done():
            return
        if isinstance(result, FaultError):
            waiting.set_exception(result)
        else:
            waiting.set_result(result)


def _heal_now() -> None:
    from rig.air.healing import heal_leftovers

    heal_leftovers()
