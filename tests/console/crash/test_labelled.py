"""The labelled logs: every crash found, nothing else, every printed field right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LABELLED = Path(__file__).parents[4] / "shared" / "crash-logs"

pytestmark = pytest.mark.skipif(
    not (LABELLED / "labels.jsonl").is_file(), reason=f"the labelled logs are not at {LABELLED}"
)


def test_the_score_is_reached(tmp_path: Path) -> None:
    rig = [sys.executable, "-m", "rig", "triage", "--no-memory", "--json"]
    run = subprocess.run(
        [sys.executable, LABELLED / "score.py", "-v", LABELLED, "--", *rig],
        capture_output=True,
        text=True,
        check=False,
        env={"SENDSPIN_RIG_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_crash_is_told_where_there_is_none() -> None:
    from rig.console.crash import Finished
    from rig.triage.logs import read_log

    labels = [json.loads(line) for line in (LABELLED / "labels.jsonl").read_text().splitlines()]
    quiet = [label["file"] for label in labels if label.get("negative")]
    assert quiet
    for name in quiet:
        with (LABELLED / name).open("rb") as file:
            assert not [e for e in read_log(file) if isinstance(e, Finished)], name


def test_silent_resets_are_counted() -> None:
    from rig.console.crash import Reset
    from rig.triage.logs import read_log

    for line in (LABELLED / "labels.jsonl").read_text().splitlines():
        label = json.loads(line)
        if label.get("ambiguous") or label.get("truncated") == "head":
            continue
        with (LABELLED / label["file"]).open("rb") as file:
            resets = [event for event in read_log(file) if isinstance(event, Reset)]
        assert len(resets) == label["boot_banners"], label["file"]
