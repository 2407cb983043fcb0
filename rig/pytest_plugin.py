"""The pytest face of the rig: a board in one session, crashes that fail the test they happen in.

    pytest --board virtual --firmware fixtures/firmware/v0.7.0 tests/hil

    def test_it_is_greeted(server):
        connection = server.connect()
        assert connection.upgrade() == 101
        assert connection.wait_hello(2.0) is not None

Fixtures: `bench`, `board`, `firmware`, `rig_session` (one a session, flashed once), `link`,
`server`, `history` (of one test). Plain test functions get blocking faces of the live objects;
`async def` tests get the objects themselves and run in the session's own loop. `play` plays a
scenario and returns its verdict.

A crash that the serial console shows fails the running test at once (`DeviceCrashed`), with its
decoded record and the log around it in a section of its own. Mark a test that provokes one with
`@pytest.mark.crash_expected`.
"""

from __future__ import annotations

import contextlib
import inspect
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rig.boards.bench import Bench
    from rig.campaign.blocking import Blocking
    from rig.campaign.hil import Hil, TestHistory
    from rig.campaign.verdicts import RunVerdict, ScenarioVerdict

_CRASHED = signal.SIGUSR2
"""Interrupts a test that waits for nothing of the rig's."""

_RIG_FIXTURES = frozenset({"board", "link", "server", "history", "rig_session", "play"})

_hil = pytest.StashKey["Hil"]()


class DeviceCrashed(Exception):
    """The device under test crashed while the test ran."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--bench`, `--board`, `--firmware`, `--rig-out`, `--rig-seed`."""
    group = parser.getgroup("sendspin-rig", "sendspin-rig: a board under test")
    group.addoption("--bench", metavar="FILE", help="bench file that names boards [bench.toml]")
    group.addoption(
        "--board",
        metavar="NAME,...",
        help="board under test (`rig boards` lists them); of several the first that is free, so "
        "that each worker of pytest-xdist has its own",
    )
    group.addoption("--firmware", metavar="BUNDLE", help="bundle flashed once, before all tests")
    group.addoption("--rig-out", metavar="DIR", help="folder of the session [out/TIME-BOARD]")
    group.addoption("--rig-seed", type=int, default=1, metavar="N", help="seed of the scenarios")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "crash_expected: a crash of the device is no failure here")


# -- the session --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Bench:
    """The bench file (`--bench`), checked; an empty bench where there is none."""
    from rig.boards.bench import find_bench

    given = pytestconfig.getoption("--bench")
    with _told():
        return find_bench(Path(given) if given else None)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the rig says for people is shown as it is, without the way through its code."""
    from rig.errors import RigError

    try:
        yield
    except RigError as error:
        from rig.console.printable import printable

        said = f"error: {error.message}" + (f"\n  next: {error.hint}" if error.hint else "")
        raise pytest.fail.Exception(printable(said, keep="\t\n"), pytrace=False) from None


@pytest.fixture(scope="session")
def _hil_session(pytestconfig: pytest.Config, bench: Bench) -> Iterator[Hil]:
    names = [name for name in (pytestconfig.getoption("--board") or "").split(",") if name]
    if not names:
        pytest.skip("no board under test: give one with --board (virtual needs no hardware)")
    from rig.campaign.hil import open_hil
    from rig.commands.options import keep_symbols_of

    firmware = pytestconfig.getoption("--firmware")
    out = pytestconfig.getoption("--rig-out")
    with contextlib.ExitStack() as stack:
        with _told():
            hil = stack.enter_context(
                open_hil(
                    bench,
                    names,
                    firmware=Path(firmware) if firmware else None,
                    out=Path(out) if out else None,
                    seed=pytestconfig.getoption("--rig-seed"),
                )
            )
        if hil.bundle is not None:
            keep_symbols_of(hil.bundle)  # as `rig run` does: `rig triage` finds them later
        hil.on_crash = _interrupt
        pytestconfig.stash[_hil] = hil
        yield hil
        del pytestconfig.stash[_hil]


@pytest.fixture(scope="session")
def rig_session(_hil_session: Hil) -> Blocking:
    """The whole session (`rig.campaign.session.Session`), blocking."""
    return _hil_session.blocking(_hil_session.session)


@pytest.fixture(scope="session")
def board(_hil_session: Hil) -> Blocking:
    """The board under test, flashed and booted (`rig.boards.base.Board`)."""
    return _hil_session.blocking(_hil_session.session.board)


@pytest.fixture(scope="session")
def firmware(_hil_session: Hil) -> dict[str, Any]:
    """What runs on it, as far as known: name, version, elf_sha256, bundle."""
    return _hil_session.firmware


# -- a test -------------------------------------------------------------------------------------


@pytest.fixture
def link(_hil_session: Hil) -> Iterator[Blocking]:
    """A link to the board (`rig.link.Link`) of this test's own; closed after it."""
    with _hil_session.fresh_link() as link:
        yield _hil_session.blocking(link)


@pytest.fixture
def server(_hil_session: Hil, link: Blocking) -> Iterator[Blocking]:
    """A scripted server (`rig.servers.ScriptedServer`) on this test's link; closed after it."""
    with _hil_session.fresh_server(link.asynchronous) as server:
        yield _hil_session.blocking(server)


@pytest.fixture
def history(_hil_session: Hil) -> TestHistory:
    """What happened since this test began: iterate over it, or `check("no_crash")`."""
    return _hil_session.test_history()


@pytest.fixture
def play(_hil_session: Hil) -> Callable[..., ScenarioVerdict]:
    """`play("baseline", cycles=2)`: plays a scenario and returns its verdict."""
    return _hil_session.play


# -- crashes ------------------------------------------------------------------------------------


def _interrupt() -> None:
    """Called in the loop's thread at a crash's first line: stop the test where it stands."""
    main = threading.main_thread()
    if main.ident is not None and main.is_alive():
        with contextlib.suppress(OSError, ValueError):
            signal.pthread_kill(main.ident, _CRASHED)


def _raise_crashed(_signal: int, _frame: object) -> None:
    raise DeviceCrashed("the device crashed (see the section `device crash`)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """While a test with the rig's fixtures runs, a crash interrupts it."""
    hil = item.config.stash.get(_hil, None)
    guarded = hil is not None and _uses_rig(item) and not item.get_closest_marker("crash_expected")
    if hil is None or not guarded or threading.current_thread() is not threading.main_thread():
        return (yield)
    before = signal.signal(_CRASHED, _raise_crashed)
    try:
        hil.begin_test()
        result = yield
        if hil.crashed:
            raise DeviceCrashed("the device crashed (see the section `device crash`)")
        return result
    finally:
        hil.end_test()
        signal.signal(_CRASHED, before)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test that uses the rig's fixtures in the session's own loop."""
    hil = pyfuncitem.config.stash.get(_hil, None)
    if hil is None or not inspect.iscoroutinefunction(pyfuncitem.obj) or not _uses_rig(pyfuncitem):
        return None
    from rig.campaign.blocking import call, unwrapped

    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: unwrapped(pyfuncitem.funcargs[name]) for name in names}
    call(hil.portal, lambda: pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the decoded crash and the log around it into the report of a test it failed."""
    report = yield
    hil = item.config.stash.get(_hil, None)
    if hil is not None and call.when == "call" and call.excinfo is not None:
        if hil.crashed:
            report.sections.append(("device crash", _crash_section(hil)))
        report.sections += [
            (f"scenario {run.scenarios[0].scenario}", _verdict_section(hil, run))
            for run in hil.played
            if run.verdict != "pass"
        ]
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """After a crash the board is waited for, so that the next test finds it in service."""
    hil = item.config.stash.get(_hil, None)
    if hil is not None and _uses_rig(item):
        hil.recover()


def _uses_rig(item: pytest.Item) -> bool:
    return not _RIG_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def _verdict_section(hil: Hil, run: RunVerdict) -> str:
    """What `rig run` says of the one scenario of `run`."""
    import io

    from rig.console.screen import WHOLE_LINES, Screen
    from rig.report.crashes import run_crashes
    from rig.report.terminal import show_scenario

    said = io.StringIO()
    (crashes,) = run_crashes(run, remember=True)
    screen = Screen(file=said, width=WHOLE_LINES)
    show_scenario(screen, hil.session.history.path, run.scenarios[0], crashes)
    return f"{said.getvalue()}    kept in {hil.session.out}"


def _crash_section(hil: Hil) -> str:
    """The decoded record of the newest crash, and the log around it; it is remembered, too."""
    from rig.console.printable import printable
    from rig.console.workflow import inert, obeyed
    from rig.report.crashes import decode_for, remember_one

    record, log = hil.newest_crash()
    if record is None:
        words = ["its record was not complete in time", "", *log]
        text = "\n".join(map(printable, words))
        return inert(text) if obeyed() else text
    crash = decode_for(record, hil.elf)
    remember_one(crash, hil.session.out, hil.session.board.name)
    head = ", ".join(str(word) for word in (record.kind, record.reason, record.task) if word)
    frames = [f"  {frame}" for frame in crash.frames]
    text = "\n".join(map(printable, [head, *frames, *crash.notes, "", *log, *record.text]))
    return inert(text) if obeyed() else text
