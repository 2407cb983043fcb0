"""The one door to a board by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.boards import KINDS, kind_class, open_board
from rig.boards.bench import parse_bench
from rig.boards.plain import PlainBoard
from rig.errors import BenchError

BENCH = parse_bench(b'[boards.kitchen]\nconsole = "a"\n', Path("bench.toml"))


def test_a_board_of_the_bench_is_found_by_name() -> None:
    found = open_board("kitchen", BENCH)
    assert isinstance(found, PlainBoard)
    assert found.name == "kitchen"


def test_a_misspelt_board_is_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="no board 'kitchn'; did you mean 'kitchen'"):
        open_board("kitchn", BENCH)


def test_a_kind_that_needs_a_bench_file_says_so() -> None:
    with pytest.raises(BenchError, match="expected a console"):
        open_board("plain")


def test_a_kind_without_numbers_refuses_one() -> None:
    with pytest.raises(BenchError, match="no numbers"):
        open_board("plain:2")


def test_every_kind_that_comes_with_the_rig_can_be_loaded() -> None:
    for kind in KINDS:
        assert kind_class(kind).Settings is not None


@pytest.mark.parametrize(
    "name", ["virtual:0", "virtual:", "virtual:x", "virtual:1000", "virtual:²"]
)
def test_a_number_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(BenchError, match=r"expected virtual:N"):
        open_board(name)


def test_a_port_is_no_boards_name_and_how_to_give_it_one_is_said() -> None:
    with pytest.raises(BenchError, match="'/dev/ttyUSB0' is no board's name") as told:
        open_board("/dev/ttyUSB0")
    assert "rig boards adopt /dev/ttyUSB0 --name kitchen" in (told.value.hint or "")
