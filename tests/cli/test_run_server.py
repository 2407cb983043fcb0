"""`rig run --server reference`: aiosendspin plays the scenarios."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rig import cli
from rig.history import History
from rig.history.events import ConnectionOpened

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"


def run(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> tuple[int, dict]:
    Path("bench.toml").write_text(
        f'[boards.kit]\nkind = "virtual"\nnamespace = false\nhome = "{home}"\n'
    )
    with pytest.raises(SystemExit) as left:
        cli.run(["run", *words, "--board", "kit", "--out", "run", "--json"])
    return int(left.value.code or 0), json.loads(capsys.readouterr().out)


@pytest.fixture(autouse=True)
def _locks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(home / "locks"))


def test_a_good_device_passes_with_every_fault_seen(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rst-anywhere", "two-servers", "--server", "reference", "--cycles", "1"]
    code, verdict = run(capsys, home, *words, "--firmware", str(FIRMWARE / "v0.7.0"))
    assert code == 0, verdict
    faults = verdict["scenarios"][0]["faults"]
    assert [(f["fault"], f["asked"], f["seen"]) for f in faults] == [("cut", 1, 1), ("rst", 7, 7)]
    ids = [e.event.server_id for e in History(Path("run/history.jsonl")).only(ConnectionOpened)]
    assert len(set(ids)) == len(ids)
    assert {len(server_id) for server_id in ids} == {43}, "X25519 keys in base64url: aiosendspin's"


@pytest.mark.long
def test_the_use_after_free_is_found_by_a_real_server_too(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["drop-queued", "--server", "reference", "--firmware", str(FIRMWARE / "v0.5.0")]
    code, verdict = run(capsys, home, *words)
    assert code == 1
    failed = {c["check"] for c in verdict["scenarios"][0]["checks"] if c["verdict"] == "fail"}
    assert "no_crash" in failed


def test_without_aiosendspin_it_is_said_before_the_board_is_touched(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiosendspin.server.server", None)
    assert cli.run(["run", "baseline", "--server", "reference", "--out", "run"]) == 2
    assert "pip install 'sendspin-rig[reference]'" in capsys.readouterr().err
