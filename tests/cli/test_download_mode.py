"""A board that comes up in download mode by accident, and `rig power`: the virtual board's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rig import cli

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
Capsys = pytest.CaptureFixture[str]
RIG = f"'{sys.executable}' -m rig"


@pytest.fixture
def bench(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The virtual board behind commands of the bench, flashed; `reset` is the one that resets."""
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(home / "locks"))

    def make(reset: str, power: str = "") -> None:
        Path("reset.sh").write_text(f"#!/bin/sh\n{reset}\n")
        assert cli.run(["flash", "virtual", str(FIRMWARE / "v0.7.0"), "--no-boot"]) == 0
        uart = home / "virtual-1" / "uart"
        Path("bench.toml").write_text(
            f"[boards.kit]\nconsole = '{uart}'\nflash = '{uart}'\nreset = 'sh reset.sh'\n"
            f'reset_download = {{ run = "{RIG} reset virtual --download" }}\n{power}'
        )

    return make


FLASH = ["flash", "kit", str(FIRMWARE / "v0.7.0")]


def test_a_board_that_comes_up_in_download_mode_is_reset_once_more(
    bench: Callable[..., None], capsys: Capsys
) -> None:
    bench(f"test -e once && exec {RIG} reset virtual\ntouch once\n{RIG} reset virtual --download")
    assert cli.run(FLASH) == 0
    assert "booted" in capsys.readouterr().out


def test_a_board_that_no_reset_brings_out_is_said_to_be_stuck(
    bench: Callable[..., None], capsys: Capsys
) -> None:
    stuck = f"{RIG} reset virtual --download"
    bench(stuck)
    assert cli.run(FLASH) == 3
    said = capsys.readouterr().err
    assert "kit is stuck in download mode after reset" in said
    assert "let go of its BOOT button" in said


@pytest.mark.long
def test_where_resets_do_not_help_power_does(bench: Callable[..., None], capsys: Capsys) -> None:
    bench(
        f"{RIG} reset virtual --download",
        f'[boards.kit.power]\non = "{RIG} power virtual on"\noff = "{RIG} power virtual off"\n',
    )
    assert cli.run(FLASH) == 0
    assert "booted" in capsys.readouterr().out


def test_power_is_switched_by_hand(home: Path, capsys: Capsys) -> None:
    assert cli.run(["power", "virtual", "off"]) == 0
    assert cli.run(["boards"]) == 0
    said = capsys.readouterr().out
    assert "virtual: power off" in said
    assert " off " in said.splitlines()[-1]
    assert cli.run(["power", "virtual", "cycle", "--off-seconds", "0"]) == 0
    assert capsys.readouterr().out == "virtual: power was off, and is on\n"


@pytest.mark.usefixtures("home")
def test_a_board_without_a_switch_says_how_to_name_one(capsys: Capsys) -> None:
    Path("bench.toml").write_text("[boards.kit]\nconsole = 'x'\n")
    assert cli.run(["power", "kit", "off"]) == 2
    assert "[boards.NAME.power]" in capsys.readouterr().err
