"""`rig flash` on several virtual boards at once: each its own, and none stopped by another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rig import cli
from rig.triage.store import SymbolStore

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
BUNDLE = str(FIRMWARE / "v0.7.0")
Capsys = pytest.CaptureFixture[str]

BENCH = """
[boards.kitchen]
kind = "virtual"
number = 1
namespace = false
[boards.hall]
kind = "virtual"
number = 2
namespace = false
"""


def flash(capsys: Capsys, *words: str, code: int = 0) -> list[dict[str, Any]]:
    assert cli.run(["flash", *words, "--no-boot", "--json"]) == code
    return list(json.loads(capsys.readouterr().out))


def names(reports: Sequence[dict[str, Any]]) -> list[str]:
    return [report["board"] for report in reports]


def test_all_boards_of_the_bench_are_flashed_and_their_symbols_kept(
    home: Path, capsys: Capsys
) -> None:
    Path("bench.toml").write_text(BENCH + '[boards.other]\naddress = "127.0.0.1"\n')

    reports = flash(capsys, "--all", BUNDLE)

    assert names(reports) == ["kitchen", "hall"]  # not the one without a flash port
    assert [report["verified"] for report in reports] == [4, 4]
    assert len({report["mac"] for report in reports}) == 2
    first, second = ((home / f"virtual-{n}" / "flash.bin").read_bytes() for n in (1, 2))
    assert first == second
    kept = SymbolStore().find(reports[0]["elf_sha256"])
    assert kept is not None
    assert kept.path.read_bytes() == (FIRMWARE / "v0.7.0" / "sendspin-speaker.elf").read_bytes()


@pytest.mark.usefixtures("home")
def test_a_board_that_fails_stops_no_other_and_is_named_with_the_next_step(
    capsys: Capsys,
) -> None:
    gone = '[boards.gone]\nconsole = "/dev/ttyNONE"\nflash = "/dev/ttyNONE"\nreset = "lines"\n'
    Path("bench.toml").write_text(gone + BENCH)

    assert cli.run(["flash", "--all", BUNDLE, "--no-boot"]) == 3

    said = capsys.readouterr()
    assert "2 of 3 boards flashed" in said.out
    assert "gone: port /dev/ttyNONE: there is no such device" in said.out
    assert "  next: " in said.out
    assert "kitchen: flashed in" in said.err


@pytest.mark.usefixtures("home")
def test_boards_are_named_before_the_bundle(capsys: Capsys) -> None:
    Path("bench.toml").write_text(BENCH)

    assert names(flash(capsys, "hall", "kitchen", BUNDLE)) == ["hall", "kitchen"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kitchen"], "expected a BOARD and a BUNDLE, found one of them only"),
        (["--all", "kitchen", "build"], "--all, and boards by name: kitchen"),
        (["virtual", "virtual", "build"], "virtual: named twice"),
        (["--all", "build"], "no board without a bench file that can be flashed"),
        (["kitchne", "virtual", "build"], "there is no board 'kitchne'"),
    ],
)
@pytest.mark.usefixtures("home")
def test_words_that_make_no_sense_are_answered_with_what_does(
    capsys: Capsys, words: list[str], said: str
) -> None:
    assert cli.run(["flash", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
