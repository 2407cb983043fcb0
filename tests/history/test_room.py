"""A disk that fills up ends a run with one clear error, and what was written stays readable."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.console.serial_log import SerialLog
from rig.errors import HistoryError
from rig.history import History, HistoryStore
from rig.history.events import Note, RunEnded, ScenarioEnded
from rig.history.room import EVERY_BYTES, Room

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The figures of the disk, as the test likes them; asked at each write."""
    figures = {"total": 10**12, "free": 10**11}
    usage = lambda _path: Usage(figures["total"], 0, figures["free"])  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr("rig.history.room.EVERY_S", 0.0)
    return figures


def test_below_what_is_to_stay_free_nothing_is_written_but_how_it_ended(
    tmp_path: Path, disk: dict[str, int]
) -> None:
    store = HistoryStore(tmp_path / "history.jsonl", room=Room(tmp_path))
    told: list[bool] = []
    store.on_broken = lambda: told.append(True)
    store.append(Note(t=1, text="before"))
    disk["free"] = 199_000_000
    for _ in range(2):
        with pytest.raises(HistoryError, match=r"nearly full: 199 MB are free .* 200 MB are to"):
            store.append(Note(t=2, text="lost"))
    disk["free"] = 10**11
    with pytest.raises(HistoryError, match="nearly full"):
        store.append(Note(t=3, text="a history has no holes"))
    store.append(ScenarioEnded(t=4, scenario="s", outcome="aborted"))
    store.append(RunEnded(t=5, outcome="the disk is nearly full"))
    store.close()
    kept = list(History(store.path))
    assert [entry.event.tag for entry in kept] == ["note", "scenario_ended", "run_ended"]
    assert [entry.n for entry in kept] == [1, 2, 3]
    assert told == [True]


def test_who_gives_a_broken_history_up_can_tidy_up_in_peace(
    tmp_path: Path, disk: dict[str, int]
) -> None:
    store = HistoryStore(tmp_path / "history.jsonl", room=Room(tmp_path))
    store.append(Note(t=1, text="before"))
    disk["free"] = 0
    with pytest.raises(HistoryError):
        store.append(Note(t=2, text="lost"))
    store.give_up()
    assert store.append(Note(t=3, text="lost, too")) == 0
    assert len(list(History(store.path))) == 1


def test_a_small_disk_keeps_a_twentieth_free(tmp_path: Path, disk: dict[str, int]) -> None:
    disk.update(total=64_000_000, free=3_300_000)
    room = Room(tmp_path)
    room.take(1)
    disk["free"] = 3_100_000
    with pytest.raises(HistoryError, match="nearly full"):
        room.take(1)


def test_the_disk_is_asked_again_before_what_is_left_is_used_up(
    tmp_path: Path, disk: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rig.history.room.EVERY_S", 1e9)
    room = Room(tmp_path)
    room.take(EVERY_BYTES)
    disk["free"] = 201_000_000
    room.take(EVERY_BYTES)  # 1 MB is left: looked at again after half of it
    disk["free"] = 199_000_000
    room.take(1)
    with pytest.raises(HistoryError, match="nearly full"):
        room.take(600_000)


def test_the_serial_log_ends_before_the_disk_does(tmp_path: Path, disk: dict[str, int]) -> None:
    with SerialLog(tmp_path / "serial-b.log") as log:
        log.append(b"before\n", 1)
        disk["free"] = 1
        with pytest.raises(HistoryError, match="nearly full"):
            log.append(b"lost\n", 2)
    assert log.path.read_bytes() == b"before\n"


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tiny", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_costs_nothing_that_was_written(tiny: Path) -> None:
    store = HistoryStore(tiny / "history.jsonl")

    def fill() -> None:
        while len(store) < 1000:
            store.append(Note(t=1, text="x" * 200))

    with pytest.raises(HistoryError, match="No space left on device"):
        fill()
    with pytest.raises(HistoryError, match="No space left"):
        store.append(Note(t=1, text="short: it would fit, and leave a hole"))
    store.close()
    history = History(store.path)
    assert [entry.n for entry in history] == list(range(1, len(store) + 1))
    assert 100 < len(store) < 1000
    assert not history.torn


@pytest.mark.parametrize("planted", ["serial-b.log", "serial-b.log.idx"])
def test_the_serial_log_follows_no_planted_link(tmp_path: Path, planted: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / planted).symlink_to(precious)
    with pytest.raises(HistoryError, match="cannot write the serial log"):
        SerialLog(tmp_path / "serial-b.log")
    assert precious.read_text() == "precious"
