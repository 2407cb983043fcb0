"""What is remembered of chips that were asked."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rig.boards.base import Identity
from rig.boards.identities import place_key, remember, remembered
from rig.errors import BoardError

MAC = "7c:df:a1:00:00:01"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_what_a_later_answer_leaves_open_stays_as_it_was() -> None:
    key = place_key("1-1", None)
    remember(key, Identity(MAC, "ESP32-C3", "v0.4", "speaker v1"))
    remember(key, Identity(MAC, firmware="speaker v2"))
    assert remembered()[key] == Identity(MAC, "ESP32-C3", "v0.4", "speaker v2")


def test_another_board_at_the_same_place_inherits_nothing() -> None:
    key = place_key("1-1", None)
    remember(key, Identity(MAC, "ESP32-C3", "v0.4", "speaker v1"))
    remember(key, Identity("7c:df:a1:00:00:02"))
    assert remembered()[key] == Identity("7c:df:a1:00:00:02")


def test_a_board_that_moved_is_no_longer_where_it_was() -> None:
    remember(place_key("1-1", None), Identity(MAC, "ESP32-C3"))
    remember(place_key("1-2", None), Identity(MAC, "ESP32-C3"))
    assert list(remembered()) == [place_key("1-2", None)]


def test_boards_that_answer_at_the_same_time_are_all_kept() -> None:
    threads = [
        threading.Thread(
            target=remember, args=(place_key(f"1-{n}", None), Identity(f"{MAC[:-1]}{n}"))
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(remembered()) == 8


def test_a_folder_that_cannot_be_written_is_named(home: Path) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(BoardError, match="cannot keep who is on 1-1") as caught:
        remember("1-1|", Identity(MAC))
    assert "SENDSPIN_RIG_HOME" in str(caught.value.hint)
