"""Switching a board's power: by commands, and by uhubctl.

`uhubctl` here is a stand-in: a script with its name that prints what its README shows.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rig.boards.plain import PlainBoard, PlainSettings
from rig.boards.power import Power
from rig.errors import BenchError, BoardError

UHUBCTL = """#!/bin/sh
echo "$@" >>"$0.calls"
state="0103 power enable connect [303a:1001]"
case "$*" in *"-a off"*) state="0000 off";; esac
[ -n "$STUBBORN" ] && state="0103 power enable connect"
echo "Current status for hub 1-1 [0424:9514]"
echo "  Port 3: 0103 power enable connect [303a:1001]"
echo "Sent power request"
echo "New status for hub 1-1 [0424:9514]"
echo "  Port 3: $state"
"""


@pytest.fixture
def uhubctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "uhubctl"
    path.write_text(UHUBCTL)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return path


def board(**keys: object) -> PlainBoard:
    return PlainBoard("kit", PlainSettings(console="x", power=Power(**keys)))  # type: ignore[arg-type]


def test_commands_switch_it(tmp_path: Path) -> None:
    mark = tmp_path / "on"
    kit = board(on=f"touch {mark}", off=f"rm {mark}")
    assert kit.can_power
    asyncio.run(kit.power(True))
    assert mark.exists()
    asyncio.run(kit.power(False))
    assert not mark.exists()


def test_a_command_that_fails_is_shown(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="its power off command ended with 3: exit 3"):
        asyncio.run(board(on="true", off="exit 3").power(False))


def test_uhubctl_switches_the_port_of_the_hub(uhubctl: Path) -> None:
    kit = board(uhubctl="1-1", hub_port=3)
    asyncio.run(kit.power(False))
    asyncio.run(kit.power(True))
    calls = uhubctl.with_name("uhubctl.calls").read_text()
    assert calls == "-l 1-1 -p 3 -a off\n-l 1-1 -p 3 -a on\n"


def test_a_hub_that_does_not_switch_is_no_success(
    uhubctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUBBORN", "1")
    with pytest.raises(BoardError, match="did not switch port 3 of hub 1-1 off"):
        asyncio.run(board(uhubctl="1-1", hub_port=3).power(False))


def test_a_missing_uhubctl_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="not on this machine"):
        asyncio.run(board(uhubctl="1-1", hub_port=3).power(False))


@pytest.mark.parametrize(
    "keys",
    [
        {"on": "true"},
        {},
        {"uhubctl": "1-1"},
        {"uhubctl": "; rm", "hub_port": 1},
        {"uhubctl": "1-1", "hub_port": 1, "on": "true"},
        {"on": "a", "off": "b", "off_seconds": -1},
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(BenchError):
        Power(**keys)  # type: ignore[arg-type]


def test_a_board_without_a_switch_says_so() -> None:
    kit = PlainBoard("kit", PlainSettings(console="x"))
    assert not kit.can_power
    with pytest.raises(BenchError, match="cannot switch the power"):
        asyncio.run(kit.power(True))
