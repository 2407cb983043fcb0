"""`rig lock`, `rig unlock`, and the commands that respect them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rig import cli
from rig.boards.lock_file import LockFile

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def bench(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(tmp_path / "locks"))
    Path("bench.toml").write_text(
        '[boards.kit]\nconsole = "socket://127.0.0.1:1"\nflash = "socket://127.0.0.1:1"\n'
        'reset = "true"\n'
    )


@pytest.fixture
def taken() -> LockFile:
    lock = LockFile("socket://127.0.0.1:1")
    assert lock.acquire("somebody") is None
    return lock


def test_the_list_names_board_holder_and_purpose(taken: LockFile, capsys: Capsys) -> None:
    assert cli.run(["lock"]) == 0
    assert "kit  socket://127.0.0.1:1  somebody (pid " in capsys.readouterr().out
    assert cli.run(["lock", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["purpose"] == "somebody"


@pytest.mark.parametrize(
    "words",
    [
        ["flash", "kit", str(FIRMWARE / "v0.7.0")],
        ["run", "drop-queued", "--board", "kit", "--no-flash"],
        ["reset", "kit"],
        ["unlock", "kit"],
        ["lock", "kit", "--", "true"],
    ],
    ids=lambda words: words[0],
)
def test_a_board_that_is_held_is_left_alone(
    words: list[str], taken: LockFile, capsys: Capsys
) -> None:
    assert cli.run(words) == 3
    assert "the board 'kit' is held by somebody (pid " in capsys.readouterr().err


def test_a_board_is_held_while_a_command_runs() -> None:
    held = (
        "import sys; from rig.boards.lock_file import held_locks\nsys.exit(len(list(held_locks())))"
    )
    assert cli.run(["lock", "kit", "--", sys.executable, "-c", held]) == 1
    assert cli.run(["lock", "kit", "--", "true"]) == 0


def test_the_command_may_use_the_board_that_is_held_for_it() -> None:
    inner = [sys.executable, "-m", "rig", "lock", "kit", "--"]
    assert cli.run(["lock", "kit", "--", *inner, "true"]) == 0
    assert cli.run(["lock", "kit", "--", *inner, "false"]) == 1


def test_holding_a_board_for_nothing_is_wrong_use(capsys: Capsys) -> None:
    assert cli.run(["lock", "kit"]) == 2
    assert "nothing to do" in capsys.readouterr().err


def test_unlock_says_that_a_board_is_free(capsys: Capsys) -> None:
    assert cli.run(["unlock", "kit"]) == 0
    assert capsys.readouterr().out == "kit: free\n"
