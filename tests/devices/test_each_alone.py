"""Every invariant broken on purpose by a scripted device, through the real link and a real run.

Each is named by its own check, and no other one cries. The devices run in this process, several at
once; a few go through `rig run` and a board of kind `process`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rig.boards.plain import PlainBoard, PlainSettings
from rig.campaign.judge import judge
from rig.campaign.runner import Plan, run
from rig.errors import RigError
from rig.scenarios import get_scenario

pytestmark = pytest.mark.anyio
PROGRAM = Path(__file__).with_name("scripted.py")
PATIENCE = {"never-reaps", "keeps-silent-tcp"}
"""What shows only to who waits for half a minute."""
AT_ONCE = 8


def load() -> Any:
    spec = importlib.util.spec_from_file_location("scripted_device", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


scripted = load()
GENERATIONS = {
    "legacy": scripted.BREAKS,
    "noise": scripted.BREAKS | scripted.NOISE_BREAKS,
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def cries(generation: str, breaks: str, out: Path, scenario: str = "baseline") -> set[str]:
    """The checks that fail in a run on a device that breaks one thing."""
    device = scripted.Device(generation=generation, breaks=breaks)
    port = await device.listen()
    board = PlainBoard("scripted", PlainSettings(address=f"127.0.0.1:{port}"))
    try:
        await run(board, Plan([get_scenario(scenario)], cycles=1, timeout=120.0), out)
    except RigError:
        pass  # it does not open, or not for long: what was heard is judged all the same
    finally:
        device.close()
    (verdict,) = judge(out).scenarios
    return {check.check for check in verdict.checks if check.verdict.value == "fail"}


async def each_alone(generation: str, names: list[str], folder: Path, scenario: str) -> None:
    busy = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> tuple[str, set[str]]:
        async with busy:
            out = folder / f"{generation}-{name or 'nothing'}"
            out.mkdir()
            return name, await cries(generation, name, out, scenario)

    found = dict(await asyncio.gather(*(one(name) for name in names)))
    table = GENERATIONS[generation]
    assert found == {name: {table[name]} if name else set() for name in names}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("generation", "names"),
    [
        ("legacy", ["", "state-first", "second-hello", "foreign-frame", "told-loser", "masks"]),
        ("noise", ["", "talks-before-greeted", "second-hello", "wrong-seal", "drops-playing-server",
                   "poor-state"]),
    ],
)  # fmt: skip
async def test_some_broken_invariants_are_named_alone(
    generation: str, names: list[str], tmp_path: Path
) -> None:
    await each_alone(generation, names, tmp_path, "baseline")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("generation", list(GENERATIONS))
async def test_every_broken_invariant_is_named_alone(generation: str, tmp_path: Path) -> None:
    names = ["", *(name for name in GENERATIONS[generation] if name not in PATIENCE)]
    await each_alone(generation, names, tmp_path, "baseline")


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("generation", "names"),
    [("legacy", ["", "never-reaps", "keeps-silent-tcp"]), ("noise", ["", "never-reaps"])],
)
async def test_who_keeps_unproven_peers_is_named_by_the_patient_scenario(
    generation: str, names: list[str], tmp_path: Path
) -> None:
    await each_alone(generation, names, tmp_path, "patience")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def rig_run(folder: Path, *words: str, device: str, log: str = "none") -> dict[str, Any]:
    """`rig run` on a board of kind `process`: its verdict."""
    port = free_port()
    command = f"{sys.executable} {PROGRAM} {port} {device} --log {log}"
    bench = folder / "bench.toml"
    bench.write_text(
        f"[boards.scripted]\nkind = 'process'\ncommand = '{command}'\n"
        f"address = '127.0.0.1:{port}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "rig", "run", *words, "--board", "scripted", "--bench", str(bench),
         "--out", str(folder / "out"), "--json"],
        env={**os.environ, "SENDSPIN_RIG_HOME": str(folder / "home")},
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.stdout.count("\n") == 1, done.stderr
    return dict(json.loads(done.stdout))


def checks_of(verdict: dict[str, Any]) -> dict[str, tuple[str, str]]:
    (scenario,) = verdict["scenarios"]
    return {each["check"]: (each["verdict"], each["message"]) for each in scenario["checks"]}


@pytest.mark.timeout(180)
def test_a_good_noise_device_with_a_log_passes_and_both_witnesses_agree(tmp_path: Path) -> None:
    device = "--generation noise"
    verdict = rig_run(tmp_path, "baseline", "--cycles", "1", device=device, log="debug")
    checks = checks_of(verdict)
    assert verdict["verdict"] == "pass", checks
    assert checks["witnesses_agree"][0] == checks["opening_first_serial"][0] == "pass"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("generation", [pytest.param("legacy", marks=pytest.mark.long), "noise"])
def test_a_log_that_tells_of_fewer_servers_than_the_wire_is_named_alone(
    tmp_path: Path, generation: str
) -> None:
    device = f"--generation {generation} --breaks half-the-log"
    checks = checks_of(rig_run(tmp_path, "baseline", "--cycles", "1", device=device, log="debug"))
    assert {name for name, (said, _) in checks.items() if said == "fail"} == {"witnesses_agree"}


@pytest.mark.timeout(180)
def test_a_hidden_log_level_is_told_of_and_not_guessed(tmp_path: Path) -> None:
    verdict = rig_run(tmp_path, "baseline", "--cycles", "1", device="", log="info")
    said, message = checks_of(verdict)["witnesses_agree"]
    assert said == "pass"
    assert "sockets are D lines, which this build hides" in message
    assert checks_of(verdict)["no_connection_leaked"][0] == "inconclusive"
