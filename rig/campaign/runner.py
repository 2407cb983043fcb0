"""A run: one board, some scenarios, one verdict."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from firmware_flasher.bundle import Bundle
from firmware_flasher.messages import Event as FlashEvent
from rig.air.client import Radio
from rig.boards.base import Board
from rig.campaign.judge import judge, judge_newest
from rig.campaign.session import Session, Told
from rig.campaign.verdicts import RunVerdict
from rig.checks import Verdict
from rig.errors import BenchError
from rig.scenarios import Scenario
from rig.servers import ServerKind

VERDICT_FILE = "verdict.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. `cycles` None: as many as each scenario says. `timeout`: s, one cycle."""

    scenarios: Sequence[Scenario]
    seed: int = 0
    cycles: int | None = None
    timeout: float = 60.0
    fail_fast: bool = False
    catalogue: bool = False
    """Whether nobody asked for the scenarios by name: what the bench lacks is told, no doubt."""
    swallow: Collection[str] = field(default=())
    """Faults that are made to miss, to test the rig itself."""
    server: ServerKind | None = None
    """Who plays the server; None: each scenario's own choice."""
    seconds: float | None = None
    """How long a scenario without an end of its own goes on; None: as it likes."""
    radio: Radio | None = None
    """What of the radio the bench names."""
    generation: str | None = None
    """The wire generation that the device must speak; None: either."""


def new_out(root: Path, board: str) -> Path:
    """A folder of its own for a run below `root`, named by time and board. Raises `BenchError`."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in board)
    for number in range(1, 1000):
        out = root / (f"{stamp}-{name}" + (f"-{number}" if number > 1 else ""))
        with contextlib.suppress(FileExistsError):
            try:
                out.mkdir(parents=True)
            except FileExistsError:
                raise
            except OSError as error:
                raise BenchError(
                    f"cannot make the run's folder {out}: {error.strerror}",
                    hint="name a folder that you may write to with --out",
                ) from error
            return out
    raise BenchError(f"no free name for a run below {root}", hint="name a folder with --out")


async def run(
    board: Board,
    plan: Plan,
    out: Path,
    *,
    bundle: Bundle | None = None,
    on_progress: Told = lambda _words: None,
    on_flash: Callable[[FlashEvent], None] = lambda _event: None,
    on_scenario: Callable[[RunVerdict], None] = lambda _verdict: None,
) -> RunVerdict:
    """Play `plan` on `board` into the folder `out`, and judge it.

    After a crash the board is waited for and the next scenario goes on. `on_scenario` hears of
    each as soon as it is played: the run with that scenario alone. Raises what `Session` raises;
    the history written so far can be judged all the same.
    """
    names = [scenario.name for scenario in plan.scenarios]
    session = Session(
        board,
        out,
        seed=plan.seed,
        swallow=plan.swallow,
        plan={
            "scenarios": names,
            "cycles": plan.cycles,
            "fail_fast": plan.fail_fast,
            "catalogue": plan.catalogue,
            "server": plan.server,
            "seconds": plan.seconds,
            "generation": plan.generation,
        },
        server=plan.server,
        seconds=plan.seconds,
        radio=plan.radio,
        generation=plan.generation,
        on_progress=on_progress,
    )
    async with session:
        await session.prepare(bundle, on_flash=on_flash)
        for scenario in plan.scenarios:
            await session.play(scenario, cycles=plan.cycles, timeout=plan.timeout)
            so_far = judge_newest(out)
            on_scenario(so_far)
            if plan.fail_fast and so_far.verdict is Verdict.FAIL:
                break
        session.outcome = "done"
    return conclude(out)


def conclude(out: Path) -> RunVerdict:
    """Judge the run in `out` and keep the verdict beside its history."""
    verdict = judge(out)
    with contextlib.suppress(OSError):  # a full disk must not cost the verdict itself
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(out / VERDICT_FILE, flags, 0o644), "wb") as file:
            file.write(verdict_json(verdict) + b"\n")
    return verdict


def verdict_json(verdict: RunVerdict) -> bytes:
    """The verdict as one JSON object on one line."""
    return msgspec.json.encode(verdict)
