"""Whole runs through the air, on the virtual board in its own namespace."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rig.boards.virtual.board import VirtualBoard
from rig.errors import BenchError
from rig.history import History
from rig.history.events import AirFault, FaultSeen, Packet
from rig.scenarios.chosen import chosen_faults
from rig.scenarios.registry import all_scenarios, catalogue

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware" / "v0.7.0"


def test_what_needs_rights_is_played_only_when_asked_for() -> None:
    asked = {each.name for each in all_scenarios().values()} - {each.name for each in catalogue()}
    assert {"forged-rst", "half-open", "silence", "four-tuple-reuse", "roam"} <= asked
    assert all("air" not in each.needs for each in catalogue())


def test_faults_of_ones_own_choice_are_a_scenario_that_needs_all_of_them_seen() -> None:
    chosen = chosen_faults(["loss", " rst-forged"])
    assert chosen.faults == ("loss", "rst-forged")


@pytest.mark.parametrize("name", ["los", "recycle", "queue-full"])
def test_a_choice_that_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(BenchError):
        chosen_faults([name])


def play(
    lab: Any, out: Path, *arguments: str, firmware: Path = FIRMWARE, within: float = 100
) -> dict[str, Any]:
    """`rig run` in the lab's namespace; its verdict."""
    rig = [sys.executable, "-m", "rig"]
    try:
        done = subprocess.run(
            [*rig, "run", *arguments, "--firmware", str(firmware), "--out", str(out), "--json"],
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
    finally:
        subprocess.run([*rig, "unplug", "virtual"], capture_output=True, timeout=20, check=False)
    assert done.stdout, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


@pytest.mark.root
@pytest.mark.timeout(180)
def test_forged_and_half_open_connections_are_survived_seen_and_taken_back(
    lab: Any, tmp_path: Path
) -> None:
    before = lab.traces()
    out = tmp_path / "out"
    verdict = play(lab, out, "forged-rst", "half-open", "four-tuple-reuse", "--cycles", "1")
    assert verdict["verdict"] == "pass", verdict
    assert [f["asked"] == f["seen"] > 0 for s in verdict["scenarios"] for f in s["faults"]] == (
        [True] * 10
    )
    history = {entry.n: entry.event for entry in History(out / "history.jsonl")}
    forged = [e for e in history.values() if isinstance(e, FaultSeen) and e.fault == "rst-forged"]
    shown = [history[n] for seen in forged for n in seen.evidence]
    assert any(isinstance(event, Packet) and event.forged for event in shown)
    assert "Flags [R.]" in lab.sh(f"tcpdump -n -r {out / 'air.pcap'}")
    assert lab.traces() == before


@pytest.mark.root
@pytest.mark.timeout(180)
def test_a_choice_of_faults_is_made_proven_and_healed(lab: Any, tmp_path: Path) -> None:
    before = lab.traces()
    out = tmp_path / "out"
    verdict = play(lab, out, "--faults", "silence-to-device,packet-delay")
    assert verdict["verdict"] == "pass", verdict
    states = [
        e.state
        for e in (x.event for x in History(out / "history.jsonl").only(AirFault))
        if isinstance(e, AirFault)
    ]
    assert states == ["up", "proven", "over"] * 2
    assert lab.traces() == before


@pytest.mark.root
@pytest.mark.timeout(180)
def test_a_board_of_the_bench_in_a_namespace_of_its_own_is_tested_just_so(
    lab: Any, tmp_path: Path
) -> None:
    """All that the rig is told is a console and an address; the link has another name."""
    rig = [sys.executable, "-m", "rig"]
    before = lab.traces()
    subprocess.run([*rig, "flash", "virtual", str(FIRMWARE)], capture_output=True, check=True)
    board = VirtualBoard("virtual")
    try:
        told = asyncio.run(board.status())
        for line in (f"{told['interface']} down", f"{told['interface']} name other", "other up"):
            lab.sh(f"ip link set {line}")
        bench = tmp_path / "bench.toml"
        bench.write_text(
            f'[boards.device]\nconsole = "{told["uart"]}"\naddress = "{told["address"]}"\n'
            'talk = "talk {n}\\n"\n'
        )
        scenarios = ["forged-rst", "roam", "--cycles", "1"]
        where = ["--board", "device", "--bench", str(bench)]
        done = subprocess.run(
            [*rig, "run", *scenarios, *where, "--json", "--out", str(tmp_path / "out")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        asyncio.run(board.unplug())
    assert done.returncode == 0, done.stdout + done.stderr
    found = [f for s in json.loads(done.stdout)["scenarios"] for f in s["faults"]]
    assert {f["fault"] for f in found} == {"rst-forged", "stall", "rst", "recycle", "link-down"}
    assert all(f["asked"] == f["seen"] for f in found)
    assert lab.traces() == before


@pytest.mark.root
@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("version", ["v0.5.0", "pr57", "v0.6.1"])
def test_every_way_of_the_airs_own_finds_the_old_bugs_in_its_first_cycle(
    lab: Any, tmp_path: Path, version: str
) -> None:
    names = ["forged-rst", "half-open", "four-tuple-reuse", "roam", "silence"]
    firmware = FIRMWARE.with_name(version)
    verdict = play(lab, tmp_path, *names, "--cycles", "1", firmware=firmware, within=300)
    found = {s["scenario"]: (s["verdict"], s["first_failing_cycle"]) for s in verdict["scenarios"]}
    assert found == dict.fromkeys(names, ("fail", 1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root has every right")
def test_without_rights_a_scenario_says_what_it_would_need(lab_home: Path, tmp_path: Path) -> None:
    verdict = play(None, tmp_path / "out", "forged-rst", "--cycles", "1")
    scenario = verdict["scenarios"][0]
    assert scenario["verdict"] == "inconclusive"
    assert "sudo" in scenario["reason"]


@pytest.fixture
def lab_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
