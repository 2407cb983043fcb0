"""Wires the project's own tests: the long mode, and what needs root.

The rig's fixtures and options (`--bench`, `--board`, `--firmware`) come from `rig.pytest_plugin`,
an entry point of the installed project.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # `./rigup` installs what users need, and tests/hil needs no more
    pass
else:
    # How long an example takes says how busy the machine is, nothing of the code.
    settings.register_profile(
        "rig", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50
    )
    settings.register_profile("long", settings.get_profile("rig"), max_examples=500)
    settings.load_profile("rig")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every process that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`: also what takes minutes."""
    parser.addoption("--long", action="store_true", help="also run the tests marked `long`")


def pytest_configure(config: pytest.Config) -> None:
    """In long mode hypothesis looks ten times as long, too."""
    if config.getoption("--long"):
        settings.load_profile("long")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: three workers a core, as most of a test's time is a device's (waits, not work)."""
    return 3 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this run or this user cannot do."""
    long = config.getoption("--long")
    root = os.geteuid() == 0
    for item in items:
        if not long and item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="long mode only: ./rigup test -e long"))
        if not root and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root (network namespaces)"))


@pytest.fixture(scope="session", autouse=True)
def _no_board_stays_plugged_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A virtual board is a process of its own: one that a test forgot would outlive the tests."""
    ours = str(tmp_path_factory.getbasetemp())
    yield
    until = time.monotonic() + 2  # an unplugged one has let go of all, and may not have ended yet
    while (left := _boards(ours)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in left:
        os.kill(int(pid), signal.SIGTERM)
    assert not left, f"boards left plugged in: {left}"


def _boards(ours: str) -> dict[str, str]:
    """The virtual boards that run with a home in `ours`: process id and command line."""
    return {
        process.name: words
        for process in Path("/proc").glob("[0-9]*")
        if "rig.boards.virtual" in (words := _command_line(process)) and ours in words
    }


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # it has ended
