"""Several logs at once: the same as one after the other, and nothing left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.commands.triage import command
from rig.triage import Decoder
from rig.triage.ahead import Read, ReadAhead, worth_it

GURU = "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled."
CRASH = f"I (5) app: hello\n{GURU}\nBacktrace: 0x400d%04x:0x3ffb0000\n\nRebooting...\n"


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    """Logs of 0 to 5 crashes."""
    paths = [tmp_path / f"{n}.log" for n in range(6)]
    for n, path in enumerate(paths):
        path.write_text("".join(CRASH % (16 * n + k) for k in range(n)) or "I (5) app: hello\n")
    return paths


def triage(*words: object, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rig", "triage", *map(str, words)]
    environment = {**os.environ, "SENDSPIN_RIG_HOME": str(home), "TMPDIR": str(home)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_two_processes_say_what_one_says_in_the_same_order(
    logs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "binary.log").write_bytes(bytes(range(256)) * 40)
    words = ["--json", logs[3], tmp_path / "missing.log", *logs, tmp_path / "binary.log"]
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
    one = triage("--jobs", 1, *words, home=homes[0])
    two = triage("--jobs", 2, *words, home=homes[1])
    assert two.stdout == one.stdout
    assert [len(json.loads(line)["crashes"]) for line in two.stdout.splitlines()] == [
        3, 0, 1, 2, 3, 4, 5, 0,
    ]  # fmt: skip
    assert two.stderr == one.stderr
    assert "cannot read" in two.stderr
    assert "binary" in two.stderr
    assert (one.returncode, two.returncode) == (0, 0)
    assert not list(homes[1].glob("rig-triage-*"))


def test_what_other_processes_read_is_decoded_with_the_elf_that_was_named(
    panic: Callable[..., str],
    elf_of: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[bool] = []

    class Watched(ReadAhead):
        def take(self) -> Read | None:
            ready = super().take()
            taken.append(ready is not None)
            return ready

    monkeypatch.setattr("rig.commands.triage.ReadAhead", Watched)
    paths = [tmp_path / "a.log", tmp_path / "b.log"]
    for path in paths:
        path.write_text(panic("v0.6.1", "httpd_thread", "httpd_sess_close"))
    words = ["--json", "--jobs", "2", "--elf", elf_of("v0.6.1"), *paths]
    run = CliRunner().invoke(command, [str(word) for word in words])
    assert taken == [True, True]
    found = [json.loads(line)["crashes"][0] for line in run.stdout.splitlines()]
    assert [crash["decoded"][0]["function"] for crash in found] == ["httpd_sess_close"] * 2


def test_none_that_could_be_read_is_wrong_use(tmp_path: Path) -> None:
    run = triage("--jobs", 2, tmp_path / "a.log", tmp_path / "b.log", home=tmp_path)
    assert run.returncode == 2
    assert run.stderr.count("cannot read") == 2


def test_a_dead_process_leaves_the_logs_to_the_caller(logs: list[Path], tmp_path: Path) -> None:
    endless = tmp_path / "endless.log"
    os.mkfifo(endless)
    held = os.open(endless, os.O_RDWR)  # so that it can be opened, and never ends
    before = set(multiprocessing.active_children())
    try:
        with ReadAhead([str(endless), *map(str, logs)], 1, Decoder()) as ahead:
            for child in set(multiprocessing.active_children()) - before:
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)
            assert ahead.take() is None
            assert ahead.take() is None
    finally:
        os.close(held)


def test_its_processes_and_files_are_gone_when_nobody_waits(
    logs: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spools))
    before = set(multiprocessing.active_children())
    with ReadAhead([*map(str, logs)], 2, Decoder()) as ahead:
        first = ahead.take()
        assert first is not None
        assert [found for held in first.batches() for found in held] == []
    assert set(multiprocessing.active_children()) == before
    assert list(spools.iterdir()) == []


def test_processes_are_started_where_there_is_enough_to_read(
    tmp_path: Path, logs: list[Path]
) -> None:
    long = [tmp_path / "long1.log", tmp_path / "long2.log"]
    for path in long:
        with path.open("wb") as file:
            file.truncate(12 << 20)
    names = [*map(str, long)]
    assert worth_it(names)
    assert worth_it([*names, "not there"])
    assert not worth_it(names[:1])
    assert not worth_it([names[0], *map(str, logs)])  # the long one alone takes as long
    assert not worth_it([*names, "-"])
    assert not worth_it([*names, "/dev/null"])
