"""The bench file: what it gives, and how it points at what is wrong."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.boards import open_board
from rig.boards.bench import Bench, find_bench, load_bench, parse_bench
from rig.boards.commands import Run
from rig.boards.network import Network
from rig.boards.plain import PlainSettings
from rig.boards.power import Power
from rig.boards.serial_board import SerialSettings
from rig.boards.serial_lines import Pins
from rig.boards.virtual.board import VirtualSettings
from rig.boards.wifi_credentials import Provision
from rig.errors import BenchError

FILE = Path("bench.toml")


def settings(text: str) -> PlainSettings:
    (entry,) = parse_bench(text.encode(), FILE).boards.values()
    assert isinstance(entry.settings, PlainSettings)
    return entry.settings


def error(text: str) -> BenchError:
    with pytest.raises(BenchError) as caught:
        parse_bench(text.encode(), FILE)
    assert caught.value.exit_code == 2
    return caught.value


def test_a_board_with_console_and_address_only_is_enough() -> None:
    found = settings('[boards.kit]\nconsole = "socket://localhost:1"\naddress = "10.0.0.7"\n')
    assert found.console == "socket://localhost:1"
    assert found.flash == "none"
    assert found.reset == "none"


def test_commands_are_read_as_tables() -> None:
    found = settings(
        '[boards.kit]\nconsole = "a.log"\nreset = { run = "true" }\ntalk = { run = "x {n}" }\n'
    )
    assert found.reset == Run("true")
    assert found.talk == Run("x {n}")


def test_broken_toml_is_answered_with_line_and_column() -> None:
    assert error("[boards.kit]\nconsole = \n").message.startswith("bench.toml:2:11: no TOML: ")


def test_a_file_that_ends_too_early_is_answered_with_its_end() -> None:
    assert error('[boards.kit]\nconsole = "').message.startswith("bench.toml:2:12: no TOML: ")


def test_an_unknown_key_is_pointed_at_and_the_nearest_named() -> None:
    found = error('[boards.kit]\nconsole = "a"\n  adress = "b"\n')
    assert found.message == "bench.toml:3:3: unknown key 'adress'; did you mean 'address'?"
    assert found.hint is not None
    assert "console_baud" in found.hint


def test_an_unknown_table_is_pointed_at_and_the_nearest_named() -> None:
    found = error('[board.kit]\nconsole = "a"\n')
    assert found.message == "bench.toml:1:2: unknown key 'board'; did you mean 'boards'?"


def test_an_unknown_kind_is_pointed_at_and_the_nearest_named() -> None:
    found = error('[boards.kit]\nkind = "plan"\n')
    assert found.message == "bench.toml:2:1: no kind of board 'plan'; did you mean 'plain'?"


@pytest.mark.parametrize(
    ("line", "where", "words"),
    [
        ("console = 7", "2:1", "console: expected str"),
        ('console = "a"\nconsole_baud = "fast"', "3:1", "console_baud: expected int"),
        ('console = "a"\nconsole_baud = 7', "3:1", "console_baud: 7 is no baud rate"),
        ('console = "a"\nreset = { run = 7 }', "3:11", "reset.run: expected str"),
        ('console = "a"\nreset = "liens"', "3:1", "did you mean 'lines'?"),
        ('console = "a"\nreset = "true \'"', "3:1", "is no command: No closing quotation"),
        ('address = "a"\nreset = "lines"', "3:1", "reset: 'lines', but there is no port"),
        ('console = "a"\ntalk = "talk"', "3:1", "talk: no {n} in it"),
        ('address = "a"\ntalk = "talk {n}"', "3:1", "but there is no console"),
        ('address = "http://a"', "2:1", "'http://a' is no address"),
        ('address = "a:99999"', "2:1", "'a:99999' is no address"),
        ('flash = "none"', "1:9", "found neither"),
    ],
)
def test_a_wrong_value_is_pointed_at(line: str, where: str, words: str) -> None:
    found = error(f"[boards.kit]\n{line}\n")
    assert found.message.startswith(f"bench.toml:{where}: ")
    assert words in found.message


def test_a_key_inside_an_inline_table_is_pointed_at() -> None:
    found = error('boards = { kit = { console = "a", cosnole = "b" } }\n')
    assert found.message.startswith("bench.toml:1:35: unknown key 'cosnole'")


def test_columns_count_characters_not_bytes() -> None:
    found = error('boards = { "kit" = { console = "äöü", x = 1 } }\n')
    assert found.message.startswith("bench.toml:1:39: unknown key 'x'")


def test_a_board_cannot_take_the_name_of_a_kind() -> None:
    assert "the name of a kind" in error('[boards.virtual]\nconsole = "a"\n').message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot read the bench file .*nowhere\.toml"):
        load_bench(tmp_path / "nowhere.toml")


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BenchError, match="found more than"):
        load_bench(path)


def test_text_that_is_not_utf8_is_pointed_at() -> None:
    with pytest.raises(BenchError, match=r"bench\.toml:2: expected UTF-8"):
        parse_bench(b"# ok\n\xff\n", FILE)


def test_without_a_file_the_bench_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SENDSPIN_RIG_BENCH", raising=False)
    assert find_bench() == Bench()


def test_a_bench_in_this_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SENDSPIN_RIG_BENCH", raising=False)
    Path("bench.toml").write_text('[boards.kit]\nconsole = "a"\n')
    assert list(find_bench().boards) == ["kit"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_the_file_holds_the_answer_is_a_bench_or_one_error(source: bytes) -> None:
    try:
        bench = parse_bench(source, FILE)
    except BenchError as found:
        text = found.message
    else:
        text = str(bench.path)
    assert text.startswith("bench.toml")


_VALUES = st.sampled_from(['"a"', "7", "{}", '{ run = "true" }', "[1]", "true", '"none"', "''"])
_KEYS = st.sampled_from(["console", "address", "reset", "talk", "flash", "kind", "chip", "x y"])


@given(st.dictionaries(_KEYS, _VALUES), st.sampled_from(["[boards.k]", "[boards]", "[[boards]]"]))
def test_any_table_is_a_board_or_one_error_with_a_place(rows: dict[str, str], head: str) -> None:
    lines = [head, *(f'"{key}" = {value}' for key, value in rows.items())]
    try:
        parse_bench("\n".join(lines).encode(), FILE)
    except BenchError as found:
        name, line, column, *_ = found.message.split(":")
    else:
        name, line, column = "bench.toml", "1", "1"
    assert name == "bench.toml"
    assert 1 <= int(line) <= len(lines)
    assert 1 <= int(column) <= max(map(len, lines)) + 1


def test_two_boards_that_are_told_by_the_same_are_pointed_at() -> None:
    found = error("[boards.a]\nmac = '7c:df:a1:00:00:01'\n[boards.b]\nmac = '7C:DF:A1:00:00:01'\n")
    assert found.message == "bench.toml:4:1: 'b' has the mac of 'a'"


DOCS = Path(__file__).parents[2] / "docs" / "bench.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_manual_is_a_good_bench(example: str) -> None:
    bench = parse_bench(example.encode(), FILE)
    for name in bench.boards:
        assert open_board(name, bench).name == name


def test_the_manual_names_every_key() -> None:
    manual = DOCS.read_text()
    tables = (PlainSettings, SerialSettings, Pins, Power, Provision, VirtualSettings, Network)
    keys = {field.name for table in tables for field in fields(table)}
    assert [
        key for key in sorted(keys) if f"`{key}`" not in manual and f"{key} " not in manual
    ] == []
