"""`rig flash` killed at random moments, whole or only its worker: the next one just works."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rig import cli

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware" / "v0.7.0"
AT = 0x200000
LINES = 60
"""How many lines a flash says, esptool's own words included."""
Capsys = pytest.CaptureFixture[str]


def bundle(folder: Path, seed: int) -> Path:
    """The committed firmware with 600 KB of its own beside it, so that writing takes a while."""
    shutil.copytree(FIRMWARE, folder)
    (folder / "extra.bin").write_bytes(random.Random(seed).randbytes(600_000))
    args = json.loads((folder / "flasher_args.json").read_text())
    args["flash_files"][f"{AT:#x}"] = "extra.bin"
    (folder / "flasher_args.json").write_text(json.dumps(args))
    return folder


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_worker(pid: int) -> bool:
    try:
        return b"firmware_flasher.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill(folder: Path, moment: random.Random, log: Path) -> str:
    """Flash `folder` and kill it at its so-many-th line; what was killed."""
    command = [sys.executable, "-m", "rig", "flash", "virtual", str(folder), "--no-boot"]
    with (
        log.open("wb") as out,
        subprocess.Popen([*command, "--verbose"], stdout=out, stderr=subprocess.PIPE) as rig,
    ):
        assert rig.stderr is not None
        if moment.random() < 0.5:
            for _ in range(moment.randrange(1, LINES)):
                rig.stderr.readline()
        else:  # in the middle of the long write: it tells each quarter
            quarters = moment.randrange(1, 4)
            for line in iter(rig.stderr.readline, b""):
                quarters -= b"extra.bin at 0x200000: writing" in line
                if not quarters:
                    break
        workers = [pid for pid in children(rig.pid) if is_worker(pid)]
        what = moment.choice(["rig", "both", "worker"]) if workers else "rig"
        for pid in [*(workers if what != "rig" else []), *([rig.pid] if what != "worker" else [])]:
            os.kill(pid, signal.SIGKILL)
        said = rig.stderr.read().decode()
        code = rig.wait(60)
    if what == "worker" and code:
        assert re.search(r"error: the esptool worker ended without a result", said), said
    return what


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_after_a_kill_at_any_of_fifty_moments_the_next_flash_just_works(
    home: Path, tmp_path: Path, capsys: Capsys
) -> None:
    killed = dict.fromkeys(("rig", "both", "worker"), 0)
    redone = 0
    for seed in range(50):
        folder = bundle(tmp_path / f"bundle-{seed}", seed)
        killed[kill(folder, random.Random(seed), tmp_path / "log")] += 1
        capsys.readouterr()

        assert cli.run(["flash", "virtual", str(folder), "--no-boot", "--json"]) == 0

        said = capsys.readouterr()
        report = json.loads(said.out)
        assert report["verified"] == 5
        redone += "was interrupted" in said.err
        content = (home / "virtual-1" / "flash.bin").read_bytes()
        assert content[AT : AT + 600_000] == (folder / "extra.bin").read_bytes()
        shutil.rmtree(folder)
    assert redone > 10  # else the moments were not chosen well
    assert min(killed.values()) > 5, killed
