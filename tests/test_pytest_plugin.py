"""The pytest face, by running pytest with it on a virtual board."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rig.boards.lock_file import LockFile

ROOT = Path(__file__).parents[1]
FIRMWARE = ROOT / "fixtures" / "firmware"

CRASHING = """
import time
from rig.checks import Verdict

def stall(server, name):
    time.sleep(0.3)  # v0.5.0 greets nobody who comes in the turn in which another left
    connection = server.connect()
    assert connection.upgrade() == 101
    assert connection.wait_hello(5.0) is not None
    return connection

def test_before(server):
    stall(server, "before")

def test_the_aimed_recipe(server, board):
    a, b = stall(server, "a"), stall(server, "b")
    a.greet()
    a.half_frame()
    board.talk(4)  # something is queued for it, however slowly this test runs
    time.sleep(0.3)
    b.half_frame()
    time.sleep(0.3)
    a.drop()
    time.sleep(0.3)
    b.drop()
    time.sleep(20)
    raise AssertionError("the crash did not stop this test")

def test_after(server):
    stall(server, "after")
"""

HANGING = """
import pytest, time

def test_before(server):  # the session's flashing is not on the next test's clock
    server.connect()

@pytest.mark.timeout(2)
def test_hangs(server):
    connection = server.connect()
    connection.wait_closed(60)

def test_after(server):
    time.sleep(0.3)
    connection = server.connect()
    assert connection.upgrade() == 101
"""


_PLAIN = ("-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir=.")


def _pytest(folder: Path, source: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(source)
    return _run(folder, folder, *words)


def _run(cwd: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SENDSPIN_RIG_HOME": str(folder / "home")}
    env.pop("PYTEST_ADDOPTS", None)
    try:
        return subprocess.run(
            [sys.executable, "-m", "pytest", *_PLAIN, *words],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        unplug = [sys.executable, "-m", "rig", "unplug", "virtual"]
        subprocess.run(unplug, env=env, cwd=cwd, capture_output=True, timeout=60, check=False)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("chosen", "passed"),
    [
        (["-k", "baseline or greeted or ping"], 3),
        pytest.param([], 9, id="the whole catalogue", marks=pytest.mark.long),
    ],
)
def test_the_rigs_own_tests_pass_on_a_fixed_board(tmp_path, chosen, passed):
    board = ("--board", "virtual", "--firmware", str(FIRMWARE / "v0.7.0"))
    out = ("--rig-out", str(tmp_path / "out"))
    done = _run(ROOT, tmp_path, *board, *out, *chosen, "tests/hil")
    assert done.returncode == 0, done.stdout
    assert re.search(rf"\b{passed} passed(, 6 deselected)? in", done.stdout), done.stdout


@pytest.mark.timeout(180)
def test_a_crash_fails_the_running_test_at_once_and_only_that_one(tmp_path):
    bundle = str(FIRMWARE / "v0.5.0")
    done = _pytest(tmp_path, CRASHING, "--board", "virtual", "--firmware", bundle)
    assert "2 passed" in done.stdout, done.stdout
    assert "1 failed" in done.stdout
    assert "DeviceCrashed" in done.stdout
    assert "device crash" in done.stdout
    assert "async_send" in done.stdout
    assert "the crash did not stop this test" not in done.stdout.split("device crash")[1]
    assert done.stdout.count("Guru Meditation") >= 1
    assert list((tmp_path / "home").glob("symbols/*.elf"))  # for `rig triage`, as after `rig run`
    assert done.returncode == 1


@pytest.mark.timeout(180)
def test_a_hung_test_does_not_harm_the_next(tmp_path):
    bundle = str(FIRMWARE / "v0.7.0")
    done = _pytest(tmp_path, HANGING, "--board", "virtual", "--firmware", bundle)
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr


def test_without_a_board_tests_skip_and_say_how(tmp_path):
    done = _pytest(tmp_path, "def test_it(server): pass", "-rs")
    assert "1 skipped" in done.stdout
    assert "--board" in done.stdout


def test_an_unknown_board_is_one_clear_error(tmp_path):
    done = _pytest(tmp_path, "def test_it(server): pass", "--board", "virtua")
    assert "did you mean 'virtual'" in done.stdout
    assert "open_board" not in done.stdout  # no way through the rig's code
    assert "another exception" not in done.stdout


def test_a_board_that_is_held_is_left_alone_and_another_one_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(tmp_path / "locks"))
    (tmp_path / "bench.toml").write_text(
        '[boards.a]\nconsole = "/nowhere/a"\n[boards.b]\nconsole = "/nowhere/b"\n'
    )
    test = "def test_it(board): pass"
    lock = LockFile("/nowhere/a")
    assert lock.acquire("somebody") is None
    try:
        alone = _pytest(tmp_path, test, "--board", "a")
        several = _pytest(tmp_path, test, "--board", "a,b")
    finally:
        lock.release()
    assert "the board 'a' is held by somebody" in alone.stdout
    assert "rig lock BOARD --wait" in alone.stdout
    assert "held by" not in several.stdout
    assert "/nowhere/b" in several.stdout  # it was tried


def test_a_played_scenario_that_fails_says_why(tmp_path):
    bundle = str(FIRMWARE / "v0.5.0")
    test = """
def test_it(play):
    assert play("drop-queued", cycles=1).verdict == "pass"
"""
    done = _pytest(tmp_path, test, "--board", "virtual", "--firmware", bundle)
    assert done.returncode == 1
    section = done.stdout.partition("scenario drop-queued")[2]
    assert "no_crash in cycle 1" in section, done.stdout
    assert "async_send" in section
    assert "kept in out/" in section
