"""Console events as lines for a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.console.parser import ConsoleParser
from rig.console.printable import printable
from rig.console.view import Filter, View
from rig.errors import BenchError
from rig.history.events import ConsoleGap

LOG = (
    b"E (1) wifi: bad\nW (2) wifi: odd\nI (3) wifi: fine\nI (4) main: hello\nV (5) main: detail\n"
    b"rst:0x1 (POWERON),boot:0x8 (X)\nplain\n"
)


def shown(data: bytes, *filters: str, colour: bool = False) -> list[str]:
    parser = ConsoleParser("b")
    view = View(Filter.parse(filters), colour=colour)
    return [line for event in parser.feed(data, 1) + parser.flush(1) for line in view.lines(event)]


def test_without_a_filter_every_line_is_shown_as_it_is() -> None:
    assert shown(LOG) == LOG.decode().splitlines()


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["wifi:W"], ["E (1) wifi: bad", "W (2) wifi: odd"]),
        (["wifi:E", "*:I"], ["E (1) wifi: bad", "I (4) main: hello"]),
        (["*:E main:V"], ["E (1) wifi: bad", "I (4) main: hello", "V (5) main: detail"]),
        (["main"], ["I (4) main: hello", "V (5) main: detail"]),
        (["wifi:n,*:i"], ["I (4) main: hello"]),
    ],
)
def test_a_filter_shows_a_tag_up_to_its_level(filters: list[str], left: list[str]) -> None:
    records = [line for line in shown(LOG, *filters) if "(" in line and "rst" not in line]
    assert records == left


def test_a_filter_never_hides_what_is_no_log_record() -> None:
    assert shown(LOG, "*:N") == ["rst:0x1 (POWERON),boot:0x8 (X)", "plain"]


@pytest.mark.parametrize("text", ["wifi:X", ":W", "wifi:", "wifi:WW"])
def test_a_wrong_filter_says_what_is_expected(text: str) -> None:
    with pytest.raises(BenchError, match="expected tag:level"):
        Filter.parse([text])


def test_a_record_is_coloured_by_its_level() -> None:
    first, *_ = shown(LOG, colour=True)
    assert first == "\x1b[31mE (1) wifi: bad\x1b[0m"


def test_a_crash_is_marked_where_it_begins_and_told_when_complete() -> None:
    lines = shown(
        b"Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.\n"
        b"MEPC    : 0x4200a5b2  RA      : 0x4200a59e\nMTVAL   : 0xfefefefe\nRebooting...\n"
    )
    assert lines[1] == "-- crash 1 begins: panic"
    assert lines[-2] == "-- crash 1: panic (Load access fault)"
    assert "0x4200a5b2" in lines[-1]


def test_a_flood_is_counted() -> None:
    assert shown(b"same\n" * 50 + b"x\n") == ["same", "-- 49 times more: same", "x"]


def test_a_gap_is_told() -> None:
    view = View(Filter.parse([]), colour=False)
    assert view.lines(ConsoleGap(t=1, board="b", reason="uart is gone")) == ["-- uart is gone"]


@given(st.text())
def test_nothing_a_board_sends_moves_the_terminals_cursor(text: str) -> None:
    assert printable(text).replace("\t", "").isprintable()


def test_text_of_every_language_stays_readable() -> None:
    assert printable("23 °C, 日本\x1b]0;title\x07") == "23 °C, 日本\\x1b]0;title\\x07"
