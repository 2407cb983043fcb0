"""`rig serve`: aiosendspin in front of the virtual board, live."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rig import cli

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"


@pytest.fixture(autouse=True)
def _bench(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(home / "locks"))
    monkeypatch.setenv("NO_COLOR", "1")
    Path("bench.toml").write_text(
        f'[boards.kit]\nkind = "virtual"\nnamespace = false\nhome = "{home}"\n'
    )


def test_what_crosses_is_shown_live_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    serve = ["serve", "kit", "--firmware", str(FIRMWARE / "v0.7.0"), "--volume", "37"]
    assert cli.run([*serve, "--tone", "440", "--for", "3", "--out", "run"]) == 0
    live = capsys.readouterr().out
    first = next(line for line in live.splitlines() if "client/" in line or "server/" in line)
    assert "client/hello" in first
    for words in ("server/hello", "server/command", "stream/start", "binary", "the server warns"):
        assert words in live
    assert cli.run(["wire", "run"]) == 0
    assert "client/hello" in capsys.readouterr().out


def test_a_history_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    Path("run/history.jsonl").write_text("")
    assert cli.run(["serve", "kit", "--out", "run"]) == 2
    assert "run holds a run already" in capsys.readouterr().err


def test_what_is_missing_is_said_before_the_board_is_touched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiosendspin.server.server", None)
    assert cli.run(["serve", "kit", "--out", "run"]) == 2
    assert "pip install 'sendspin-rig[reference]'" in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_wrong_name_leaves_no_folder_behind(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve", "kitt"]) == 2
    assert "did you mean 'kit'" in capsys.readouterr().err
    assert not Path("out").exists()


def test_ctrl_c_is_heeded_while_a_board_does_not_come_up() -> None:
    Path("bench.toml").write_text('[boards.mute]\naddress = "127.0.0.1:1"\n')
    words = [sys.executable, "-m", "rig", "serve", "mute"]
    serve = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert serve.stderr is not None
    with serve:
        assert "preparing" in serve.stderr.readline()
        serve.send_signal(signal.SIGINT)
        assert serve.wait(10) == 130
        assert "interrupted" in serve.stderr.read()


def test_ctrl_c_leaves_in_order() -> None:
    words = ["serve", "kit", "--firmware", str(FIRMWARE / "v0.7.0"), "--out", "run"]
    serve = subprocess.Popen(
        [sys.executable, "-m", "rig", *words], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert serve.stdout is not None
    with serve:
        assert any("client/state" in line for line in serve.stdout)
        serve.send_signal(signal.SIGINT)
        assert "close" in serve.stdout.read()
        assert serve.wait(30) == 0
    assert '"outcome":"done"' in Path("run/history.jsonl").read_text().splitlines()[-1]


def test_a_reader_that_goes_away_ends_it_without_a_word() -> None:
    words = [
        "serve",
        "kit",
        "--firmware",
        str(FIRMWARE / "v0.9.3"),
        "--out",
        "run",
        "--tone",
        "440",
    ]
    serve = subprocess.Popen(
        [sys.executable, "-m", "rig", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert serve.stdout is not None
    assert serve.stderr is not None
    with serve:
        assert "opened" in next(iter(serve.stdout))
        serve.stdout.close()
        told = serve.stderr.read()
        assert serve.wait(30) == 0
    assert "Traceback" not in told
    assert '"outcome":"done"' in Path("run/history.jsonl").read_text().splitlines()[-1]
