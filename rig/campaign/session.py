"""A session on one board: console, flash, boot, link, server and history, held together.

async with Session(board, out) as session:
    await session.prepare(bundle)
    await session.play(get_scenario("baseline"), cycles=5)
verdict = judge(out)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from firmware_flasher.bundle import Bundle
from firmware_flasher.messages import Event as FlashEvent
from rig import __version__
from rig.air.airspace import Airspace
from rig.air.client import Radio
from rig.boards.base import Board, Dialler
from rig.boards.booting import attach_console, boot_board
from rig.boards.flashing import flash_board
from rig.campaign.judge import HISTORY_FILE
from rig.campaign.reach import Reach
from rig.console.capture import Capture
from rig.errors import BoardError, RigError, ServerError
from rig.faults import all_faults
from rig.history import Entry, HistoryStore, now_ns, wall_anchor
from rig.history import events as ev
from rig.history.room import Room
from rig.link import Link
from rig.scenarios import Lacking, Scenario, Stage
from rig.scenarios.device import Device
from rig.scenarios.learning import learn, own_messages
from rig.scenarios.stage import Sockets
from rig.servers import ScriptedServer, ServerKind, Unable
from rig.servers.engine import check_installed
from rig.servers.formats import FormatWatch

BACK_S = 30.0
"""How long a board may take to be in service again after a crash."""
RECORD_S = 3.0
"""How long a crash's record may take to be complete after its first line."""

Told = Callable[[str], None]
"""Hears in a few words what goes on, for a progress line."""


class Crashed(Exception):
    """The device crashed in the middle of a cycle."""


class Session:
    """One board in use, with its history in the folder `out`; an async context manager.

    Raises `BoardError`, `BenchError`, `FirmwareError` and `HistoryError` as its parts do. Leaving
    it writes `RunEnded` and closes all it opened, also on Ctrl-C.
    """

    def __init__(
        self,
        board: Board,
        out: Path,
        *,
        seed: int = 0,
        swallow: Collection[str] = (),
        plan: dict[str, Any] | None = None,
        server: ServerKind | None = None,
        seconds: float | None = None,
        radio: Radio | None = None,
        generation: str | None = None,
        on_progress: Told = lambda _words: None,
    ) -> None:
        """`swallow` names faults that are made to miss, to test the rig itself.

        `server` plays every scenario; None: each as it prefers, and the scripted one otherwise.
        `seconds`: how long a scenario without an end of its own (`conversation`) goes on.
        `generation`: the wire generation that the device must speak (`legacy`, `noise`).
        Raises `BenchError` where the reference server is asked for and not installed.
        """
        if server == "reference":
            check_installed()
        self.board = board
        self.out = out
        self.seed = seed
        self.history = HistoryStore(out / HISTORY_FILE, room=Room(out))
        self.console: Capture | None = None
        self.device = Device()
        self.sockets = Sockets()
        self.outcome = "interrupted"
        """What `RunEnded` will say: set to `done` by whoever got to the end."""
        self._swallow = swallow
        self._plan = plan or {}
        self._tell = on_progress
        self._stack = contextlib.AsyncExitStack()
        self._crash = asyncio.Event()
        self._broken = asyncio.Event()
        """Set when the history cannot be written any more."""
        self._crashes = 0
        self._records = 0
        self._learned = False
        self._chosen = server
        self._seconds = seconds
        self._generation = generation
        self._reach = Reach(
            board.name, self.history, self._stack, swallow=swallow, kind=server or "scripted"
        )
        self._own_messages: bool | None = None
        """Whether it sends client/time by itself since its last boot; None: not looked at."""
        self._air = Airspace(board.name, self._reach.place, self.history, out, radio)

    # -- its life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def broken() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._broken.set)

        self.history.on_broken = broken
        try:
            self.history.append(
                ev.RunStarted(
                    t=now_ns(),
                    wall=wall_anchor(),
                    rig_version=__version__,
                    seed=self.seed,
                    plan=self._plan,
                )
            )
            self.history.listen(self._heard)
            self.history.listen(FormatWatch(self.history.append))
            all_faults()  # imported here, and not in the middle of a recipe
            await self._stack.enter_async_context(self.board)
            self.console = await self._stack.enter_async_context(
                attach_console(self.board, self.history, folder=self.out)
            )
        except BaseException as error:
            await self._close(type(error), error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close(kind, error, trace)

    async def _close(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None = None,
    ) -> None:
        if isinstance(error, RigError):
            self.outcome = error.message
        if self.history.broken is not None:
            self.outcome = self.history.broken.message
        self.history.give_up()
        try:
            await self._stack.__aexit__(kind, error, trace)
        except RigError as late:  # a console whose log could not be kept tells on leaving
            self.outcome = late.message
            raise
        finally:
            try:
                self.history.append(ev.RunEnded(t=now_ns(), outcome=self.outcome))
            finally:
                self.history.close()

    def _heard(self, entry: Entry) -> None:
        match entry.event:
            case ev.SocketSeen() as event:
                self.sockets.take(entry.n, event)
            case ev.Boot():
                self.sockets.forget()
                self._restarted()
            case ev.CrashBegan():
                self._restarted()
                self._crashes += 1
                self._crash.set()
            case ev.Crash():
                self._records += 1
            case _:
                pass

    def _restarted(self) -> None:
        """Its clock begins anew; one that never talks by itself is not waited for again."""
        if self._own_messages:
            self._own_messages = None

    # -- the board --------------------------------------------------------------------------

    async def prepare(
        self,
        bundle: Bundle | None = None,
        *,
        on_flash: Callable[[FlashEvent], None] = lambda _event: None,
        reset: bool = True,
    ) -> None:
        """Flash `bundle` (None: what is on it stays), boot, and open the link to the device."""
        if bundle is not None:
            self._tell("flashing")
            await flash_board(self.board, bundle, self.history, self.console, on_event=on_flash)
        self._tell("booting")
        booted = await boot_board(self.board, self.history, reset=reset)
        self.history.append(
            ev.BoardDescribed(
                t=now_ns(),
                board=self.board.name,
                board_kind=self.board.kind,
                address=str(booted.address) if booted.address else None,
                firmware=_described(bundle),
            )
        )
        dials = self.board.dials if isinstance(self.board, Dialler) else None
        await self._reach.open(booted.address, dials)
        await self._stack.enter_async_context(self._air)
        await self._reach.use(self._reach.kind)

    def new_link(self) -> Link:
        """Another link to the device, its connections numbered on; whoever asked closes it.

        A device that dials has one place to dial to: always the same link.
        """
        return self._reach.new_link()

    @property
    def server(self) -> ScriptedServer:
        """The server in front of the device; there once the board is prepared."""
        return self._reach.server

    def stage(self, *, cycle: int = 1, salt: str = "") -> Stage:
        """A stage on this session, with a random source made from the seed, `salt` and cycle."""
        return Stage(
            board=self.board,
            server=self.server,
            history=self.history,
            device=self.device,
            sockets=self.sockets,
            rng=random.Random(f"{self.seed}/{salt}/{cycle}"),
            cycle=cycle,
            swallow=self._swallow,
            air=self._air,
            seconds=self._seconds,
        )

    async def learn(self) -> Device:
        """Measure the device, once a session."""
        if not self._learned:
            self._tell("learning the device")
            self.device = await learn(self.stage())
            self._learned = True
        return self.device

    # -- scenarios --------------------------------------------------------------------------

    async def play(
        self, scenario: Scenario, *, cycles: int | None = None, timeout: float = 60.0
    ) -> None:
        """Play `scenario`; it ends at the first crash, after which the board is waited for.

        `timeout`: seconds for one cycle. What it did is in the history; nothing is judged here.
        Raises `BoardError` when the board does not come back.
        """
        asked = () if self._generation is None else ("generation_as_required",)
        params: dict[str, Any] = {"cycles": cycles or scenario.cycles}
        if self._generation is not None:
            params["generation"] = self._generation
        self.history.append(
            ev.ScenarioStarted(
                t=now_ns(),
                scenario=scenario.name,
                checks=(*scenario.checks, *asked),
                required=(*scenario.required, *asked),
                needs_fault=bool(scenario.faults),
                params=params,
            )
        )
        outcome: Literal["done", "aborted", "lacking"] = "aborted"
        reason: str | None = "interrupted"
        try:
            await self._reach.use(self._chosen or scenario.server)
            if self._crash.is_set():  # when nothing was played
                await self._recover()
            await self._look(scenario)
            reason = await self._cycles(scenario, cycles or scenario.cycles, timeout)
            outcome = "aborted" if reason else "done"
        except Lacking as lacking:
            outcome, reason = "lacking", str(lacking)
        except Crashed:
            outcome, reason = "done", None
        except RigError as error:
            reason = error.message
            raise
        finally:
            self.history.append(
                ev.ScenarioEnded(t=now_ns(), scenario=scenario.name, outcome=outcome, reason=reason)
            )

    async def _look(self, scenario: Scenario) -> None:
        """Learn what the scenario has to know. Raises `Crashed`, once the board is back."""

        async def look() -> None:
            await self.learn()
            if scenario.own_messages and self._own_messages is None:
                self._tell("waiting until the device talks by itself")
                self._own_messages = await own_messages(self.stage())

        try:
            await self._guarded(look())
        except Crashed:
            await self.server.aclose()
            await self._recover()
            raise

    async def _cycles(self, scenario: Scenario, cycles: int, timeout: float) -> str | None:
        """Play the cycles. Returns why it had to stop, None when all were played."""
        memory: dict[str, object] = {}
        for cycle in range(1, cycles + 1):
            self._tell(f"{scenario.name} {cycle}/{cycles}")
            stage = self.stage(cycle=cycle, salt=scenario.name)
            stage.memory = memory
            self.history.append(ev.CycleStarted(t=now_ns(), scenario=scenario.name, cycle=cycle))
            try:
                try:
                    async with asyncio.timeout(timeout + (self._seconds or 0)):
                        await self._guarded(scenario.play(stage))
                finally:
                    await stage.calm()
            except TimeoutError:
                await self.server.aclose()
                return f"cycle {cycle} did not end within {timeout:g} s"
            except Unable as unable:
                raise Lacking(f"{unable.message}; {unable.hint}") from unable
            except ServerError as error:
                self.history.append(ev.Note(t=now_ns(), text=error.message))
                await self._end_cycle(scenario, stage, cut_short=error.message)
                await self._still_there()
                continue
            except Crashed:
                await self._after_crash(scenario, stage)
                raise
            await self._end_cycle(scenario, stage, settle=False)
        return None

    async def _guarded(self, act: Awaitable[None]) -> None:
        """Do `act`, given up at the first line of a crash. Raises `Crashed`.

        Raises the `HistoryError` of a history or a serial log that cannot be written any more.
        """
        playing = asyncio.ensure_future(act)
        crash = asyncio.ensure_future(self._crash.wait())
        lost = asyncio.ensure_future(self.lost())
        try:
            await asyncio.wait({playing, crash, lost}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                await lost
            if crash.done():
                raise Crashed
            await playing
        finally:
            for task in (playing, crash, lost):
                task.cancel()
            await asyncio.gather(playing, crash, lost, return_exceptions=True)

    async def lost(self) -> None:
        """Wait until the history or the serial log cannot be kept any more, and raise why."""
        broken = asyncio.ensure_future(self._broken.wait())
        deaf = asyncio.ensure_future(self.console.failed() if self.console else asyncio.Future())
        try:
            await asyncio.wait({broken, deaf}, return_when=asyncio.FIRST_COMPLETED)
            if self.history.broken is not None:
                raise self.history.broken
            await deaf
        finally:
            for task in (broken, deaf):
                task.cancel()
            await asyncio.gather(broken, deaf, return_exceptions=True)

    async def _end_cycle(
        self,
        scenario: Scenario,
        stage: Stage,
        *,
        settle: bool = True,
        cut_short: str | None = None,
    ) -> None:
        if settle:
            await stage.settle()
        self.history.append(
            ev.CycleEnded(
                t=now_ns(), scenario=scenario.name, cycle=stage.cycle, cut_short=cut_short
            )
        )

    async def _after_crash(self, scenario: Scenario, stage: Stage) -> None:
        """Let the record be completed, wait for the board, see whether it serves again."""
        self._tell(f"{scenario.name}: crashed, waiting for its reboot")
        await self.server.aclose()
        await self._recover()
        await stage.step()  # whoever looked whether its port is open again is gone by then
        with contextlib.suppress(ServerError):
            await stage.probe()
        await self._end_cycle(scenario, stage)

    async def _recover(self) -> None:
        """Wait for the crash's record and for the board. Raises `BoardError` as `back` does."""
        await self.crash_complete()
        await self.back()
        self._crash.clear()

    async def crash_complete(self) -> None:
        """Wait, at most `RECORD_S`, until no crash is open any more: its record is written."""
        with self.history.watch(lambda event: isinstance(event, ev.Crash)) as watch:
            if self._records < self._crashes:
                await watch.next(ev.Crash, timeout=RECORD_S)

    async def back(self) -> None:
        """Wait until the board is in service. Raises `BoardError` when it does not come back."""
        try:
            await boot_board(self.board, self.history, reset=False, timeout=BACK_S)
        except BoardError:
            if not self.board.can_reset:
                raise
            await boot_board(self.board, self.history, timeout=BACK_S)

    async def _still_there(self) -> None:
        """After a connection could not be had: is the device there at all?"""
        self._not_unplugged()
        try:
            connection = await self.server.connect(timeout=BACK_S)
            if (status := await connection.upgrade(BACK_S)) != 101:
                found = "gave none" if status is None else f"answered {status}"
                raise ServerError(f"expected the upgrade answer 101, it {found}")
        except ServerError as error:
            with contextlib.suppress(TimeoutError):  # a log may come later than a refusal
                await asyncio.wait_for(self._crash.wait(), RECORD_S)
                return
            self._not_unplugged()
            raise BoardError(
                f"{self.board.name} takes no connections any more: {error.message}",
                hint="see its serial log in the run's folder; is it still on the network?",
            ) from error
        await self.server.aclose()

    def _not_unplugged(self) -> None:
        """Raises `BoardError` when the serial port is gone as well: the board was taken away."""
        if self.console is not None and not self.console.attached:
            raise BoardError(
                f"{self.board.name} is gone: so is its serial port, and it takes no connections",
                hint="plug it in again; what was played so far is judged",
            )


def _described(bundle: Bundle | None) -> dict[str, Any]:
    if bundle is None:
        return {}
    app = bundle.app
    named = {} if app is None else {"name": app.project, "version": app.version}
    elf = {} if app is None else {"elf_sha256": app.elf_sha256}
    path = {"elf": str(bundle.elf)} if bundle.elf else {}
    return named | elf | path | {"bundle": bundle.origin, "sha256": bundle.digest}
