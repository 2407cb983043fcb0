"""A session on a board for a test runner that knows no event loop: under the pytest face."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from firmware_flasher.bundle import Bundle
from rig.boards import open_board
from rig.boards.bench import Bench
from rig.boards.flashing import bundle_for
from rig.boards.locks import BoardHeld, held_any
from rig.campaign.blocking import Blocking, call
from rig.campaign.judge import judge_newest
from rig.campaign.radio import radio_of
from rig.campaign.runner import new_out
from rig.campaign.session import Session
from rig.campaign.verdicts import RunVerdict, ScenarioVerdict
from rig.checks import Outcome, get_check
from rig.checks.stretch import Stretch, run_check
from rig.errors import BoardError
from rig.history import Entry, Event, History
from rig.history import events as ev
from rig.history.crash import CrashRecord
from rig.link import Link
from rig.scenarios import get_scenario
from rig.servers import ScriptedServer

_HELD = (
    "`rig lock BOARD --wait -- pytest ...` queues for it; --board A,B takes the one that is free, "
    "and each worker of pytest-xdist needs a board of its own"
)
_LOG_SHOWN = 40
"""Log lines shown before a crash."""


class TestHistory:
    """The events since a test began."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(self, history: History, first: int) -> None:
        self._stretch = Stretch(history, first)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._stretch)

    def only(self, *kinds: type[Event]) -> Iterator[Entry]:
        """The entries of these kinds."""
        return self._stretch.only(*kinds)

    def check(self, name: str) -> Outcome:
        """What the check `name` says of it (`rig checks` lists them)."""
        return run_check(get_check(name), self._stretch)


class Hil:
    """A prepared session and the loop it lives in. Made by `open_hil`."""

    def __init__(self, portal: BlockingPortal, session: Session, bundle: Bundle | None) -> None:
        self.portal = portal
        self.session = session
        self.on_crash: Callable[[], None] = lambda: None
        """Called in the loop's thread at the first line of a crash in a running test."""
        self.crashed = False
        self.played: list[RunVerdict] = []
        """What each scenario came to that the running test has played: a verdict of one."""
        self._running = False
        self._first = 1
        self._needs_recovery = False
        app = bundle.app if bundle else None
        self.firmware: dict[str, Any] = {
            "name": app.project if app else None,
            "version": app.version if app else None,
            "elf_sha256": app.elf_sha256 if app else None,
            "bundle": bundle.origin if bundle else None,
        }
        self.bundle = bundle
        """What was flashed, if anything was."""
        self.elf = bundle.elf if bundle else None
        """The firmware's ELF, to decode crashes with."""
        session.history.listen(self._heard)

    def _heard(self, entry: Entry) -> None:
        if isinstance(entry.event, ev.CrashBegan):
            self._needs_recovery = True
            first = not self.crashed
            self.crashed = True
            if self._running and first:
                self.on_crash()

    def blocking(self, thing: Any) -> Blocking:
        """`thing` for plain functions."""
        return Blocking(self.portal, thing)

    # -- a test -----------------------------------------------------------------------------

    def begin_test(self) -> None:
        """From here on a crash is this test's."""
        self.played.clear()
        self._running = True

    def end_test(self) -> None:
        """A crash after this is nobody's test's."""
        self._running = False

    def test_history(self) -> TestHistory:
        """What happens from now on."""
        self._first = len(self.session.history) + 1
        return TestHistory(History(self.session.history.path), self._first)

    @contextlib.contextmanager
    def fresh_link(self) -> Iterator[Link]:
        """A link of a test's own, its connections numbered on."""
        link = call(self.portal, self.session.new_link)
        try:
            yield link
        finally:
            call(self.portal, link.aclose)

    @contextlib.contextmanager
    def fresh_server(self, link: Link) -> Iterator[ScriptedServer]:
        """A scripted server of a test's own."""
        server = call(self.portal, lambda: ScriptedServer(link))
        try:
            yield server
        finally:
            call(self.portal, server.aclose)

    def play(
        self, scenario: str, *, cycles: int | None = None, timeout: float = 60.0
    ) -> ScenarioVerdict:
        """Play a scenario and judge it."""
        self._running = False  # a crash in it is for its checks to judge
        call(
            self.portal,
            lambda: self.session.play(get_scenario(scenario), cycles=cycles, timeout=timeout),
        )
        self.crashed = False
        self._needs_recovery = False
        self.played.append(judge_newest(self.session.out))
        return self.played[-1].scenarios[0]

    # -- crashes ----------------------------------------------------------------------------

    def recover(self) -> None:
        """After a crash: wait until the board is in service again. Raises `BoardError`."""
        crashed, self._needs_recovery = self._needs_recovery, False
        self.crashed = False
        if crashed:
            call(self.portal, self.session.back)

    def newest_crash(self) -> tuple[CrashRecord | None, list[str]]:
        """The record of the newest crash, once it is complete, and the log lines before it."""
        call(self.portal, self.session.crash_complete)
        record: CrashRecord | None = None
        log: list[str] = []
        history = History(self.session.history.path)
        for entry in history.only(ev.Crash, ev.LogLine):
            match entry.event:
                case ev.LogLine(text=text):
                    log = [*log[-_LOG_SHOWN + 1 :], text]
                case ev.Crash() as crash:
                    record = crash.record
                case _:
                    pass
        return record, list(record.before[-_LOG_SHOWN:]) if record and record.before else log


@contextlib.contextmanager
def open_hil(
    bench: Bench,
    names: Sequence[str],
    *,
    firmware: Path | None = None,
    out: Path | None = None,
    seed: int = 1,
) -> Iterator[Hil]:
    """Hold the first of the boards `names` that is free, flash it (once), boot it.

    Raises what these raise.
    """
    boards = [open_board(name, bench) for name in names]
    with start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        holding = held_any(boards, "pytest", wait=False)
        try:
            board = stack.enter_context(portal.wrap_async_context_manager(holding))
        except BoardHeld as error:
            raise BoardError(error.message, hint=_HELD) from error
        bundle = bundle_for(board, firmware)
        folder = new_out(Path("out"), board.name) if out is None else out

        async def make() -> Session:
            plan = {"face": "pytest"}
            return Session(
                board,
                folder,
                seed=seed,
                plan=plan,
                radio=radio_of(bench),
                generation=bench.generation_of(board.name),
            )

        session = call(portal, make)
        with portal.wrap_async_context_manager(session):
            call(portal, lambda: session.prepare(bundle))
            yield Hil(portal, session, bundle)
            session.outcome = "done"
