"""An hour of audio under faults, with flat memory (long mode)."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
SECONDS = int(os.environ.get("SENDSPIN_RIG_AUDIO_SECONDS", "3600"))
VERSION = os.environ.get("SENDSPIN_RIG_AUDIO_FIRMWARE", "v0.9.3")
GROWTH_MB = 20.0
"""Between the second quarter and the last, which are half an hour apart: 40 MB an hour at most."""


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
def test_memory_is_flat_over_an_hour_of_audio_under_faults(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    home = tmp_path / "home"
    (tmp_path / "bench.toml").write_text(
        f'[boards.kit]\nkind = "virtual"\nnamespace = false\nhome = "{home}"\n'
    )
    words = ["run", "conversation", "--board", "kit", "--for", str(SECONDS), "--json"]
    words += ["--firmware", str(FIRMWARE / VERSION), "--out", "run", "--timeout", "300"]
    env = {**os.environ, "SENDSPIN_RIG_HOME": str(home), "SENDSPIN_RIG_LOCKS": str(home / "l")}
    run = subprocess.Popen(
        [sys.executable, "-m", "rig", *words],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    resident: list[float] = []
    try:
        while run.poll() is None:
            resident.append(_rss_mb(run.pid))
            time.sleep(SECONDS / 120)
        assert run.stdout is not None
        verdict = json.loads(run.stdout.read())
    finally:
        run.kill()
        subprocess.run(
            [sys.executable, "-m", "rig", "unplug", "kit"], cwd=tmp_path, env=env, check=False
        )
    record_testsuite_property("resident_mb", [round(each) for each in resident])
    (scenario,) = verdict["scenarios"]
    failed = [check for check in scenario["checks"] if check["verdict"] == "fail"]
    assert not failed
    assert scenario["audio"]["seconds"] > 0.5 * SECONDS
    quarter = len(resident) // 4
    begun = statistics.median(resident[quarter : 2 * quarter])
    ended = statistics.median(resident[3 * quarter : 4 * quarter])
    assert ended - begun < GROWTH_MB, f"{begun:.0f} MB, then {ended:.0f} MB"


def _rss_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    except (OSError, IndexError):
        return 0.0
