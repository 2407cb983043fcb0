"""Whole runs on virtual boards: the right verdict on each version, for the right reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIRMWARE = ROOT / "fixtures" / "firmware"
BUGS = {
    "drop-queued": {"v0.5.0": {"no_crash"}},
    "recycle-fd": {
        "v0.5.0": {"no_crash"},
        "pr57": {"nothing_before_upgrade"},
        "v0.6.1": {"nothing_before_upgrade"},
    },
    "two-servers": {"v0.5.0": {"greeted_in_time"}, "pr57": {"greeted_in_time"}},
    "queue-full": {
        "v0.5.0": {"greeted_in_time"},
        "pr57": {"greeted_in_time"},
        "v0.6.1": {"greeted_in_time"},
    },
    "baseline": {},
    "rst-anywhere": {"v0.5.0": set()},
}
"""Which check finds what in which version (esp-http-server facts, the table)."""
VERSIONS = ("v0.5.0", "pr57", "v0.6.1", "v0.7.0")


class Rig:
    """The command line with a state folder of its own; its boards are unplugged at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {**os.environ, "SENDSPIN_RIG_HOME": str(home), "NO_COLOR": "1"}
        self.runs = 0

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rig", *words],
            env=self.env,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def run(self, *words: str, version: str) -> tuple[int, dict[str, Any], Path]:
        self.runs += 1
        out = self.home / f"run-{self.runs}"
        firmware = str(FIRMWARE / version)
        done = self("run", *words, "--firmware", firmware, "--out", str(out), "--json")
        assert done.stdout.count("\n") == 1, done.stderr
        return done.returncode, json.loads(done.stdout), out


@pytest.fixture
def rig(tmp_path: Path):
    made = Rig(tmp_path)
    yield made
    made("unplug", "virtual")


def _failing(verdict: dict[str, Any]) -> set[str]:
    (scenario,) = verdict["scenarios"]
    return {check["check"] for check in scenario["checks"] if check["verdict"] == "fail"}


@pytest.mark.timeout(180)
def test_a_use_after_free_is_found_in_the_first_cycle_and_decoded(rig):
    code, verdict, out = rig.run("drop-queued", version="v0.5.0")
    assert (code, verdict["verdict"]) == (1, "fail")
    (scenario,) = verdict["scenarios"]
    assert scenario["first_failing_cycle"] == 1
    assert "no_crash" in _failing(verdict)
    (crash,) = scenario["crashes"]
    assert any("async_send" in frame for frame in crash["decoded"])
    assert crash["excvaddr"].lower().startswith("0xfefe")
    again = rig("verdict", str(out), "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["scenarios"] == [
        {**scenario, "crashes": [{**crash, "bucket": None, "regression": False}]}
    ]
    known = rig("crashes")
    assert known.returncode == 0
    assert "async_send" in known.stdout


@pytest.mark.timeout(180)
def test_a_fault_that_is_swallowed_is_inconclusive_not_a_pass(rig):
    code, verdict, _ = rig.run("drop-queued", "--swallow", "rst", "--cycles", "1", version="v0.7.0")
    assert (code, verdict["verdict"]) == (3, "inconclusive")
    (scenario,) = verdict["scenarios"]
    assert {"fault": "rst", "asked": 2, "seen": 0} in scenario["faults"]
    assert "never seen" in scenario["reason"]


@pytest.mark.timeout(180)
def test_the_fixed_version_passes_with_a_bound(rig):
    code, verdict, _ = rig.run("recycle-fd", "--cycles", "1", version="v0.7.0")
    assert (code, verdict["verdict"]) == (0, "pass")
    (scenario,) = verdict["scenarios"]
    assert scenario["failure_rate_bound"] == pytest.approx(0.95)
    assert all(fault["seen"] == fault["asked"] for fault in scenario["faults"])


def test_an_unknown_scenario_names_the_nearest_and_is_wrong_use(rig):
    done = rig("run", "drop-queud")
    assert done.returncode == 2
    assert "drop-queued" in done.stderr
    assert done.stdout == ""


def test_a_misspelt_fault_to_swallow_is_wrong_use(rig):
    done = rig("run", "baseline", "--swallow", "rts")
    assert done.returncode == 2
    assert "did you mean 'rst'" in done.stderr


def test_an_old_run_is_neither_overwritten_nor_given_for_the_new_one(rig):
    (rig.home / "old").mkdir()
    (rig.home / "old" / "history.jsonl").touch()
    done = rig("run", "baseline", "--out", "old", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "never overwritten" in done.stderr


def test_a_missing_bundle_is_wrong_use(rig):
    done = rig("run", "baseline", "--firmware", str(rig.home / "nowhere"))
    assert done.returncode == 2
    assert "nowhere" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", list(BUGS))
def test_every_cell_ten_seeds(rig, scenario, version):
    wanted = BUGS[scenario].get(version)
    for seed in range(10):
        code, verdict, out = rig.run(scenario, "--seed", str(seed), version=version)
        if wanted is None:
            assert (code, _failing(verdict)) == (0, set()), out
        else:
            assert code == 1, out
            assert wanted <= _failing(verdict), out
