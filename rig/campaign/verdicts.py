"""The verdict on a run as data: what `--json`, the terminal, JUnit and pytest all show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rig.checks import Verdict

CONFIDENCE = 0.95


def failure_rate_bound(clean_cycles: int, *, confidence: float = CONFIDENCE) -> float | None:
    """Upper bound on the failure rate a cycle after `clean_cycles` without one (0 to 1).

    The exact (Clopper-Pearson) bound for 0 of N: 1 - (1 - confidence)^(1/N). None for N = 0.
    """
    if clean_cycles < 1:
        return None
    return float(1 - (1 - confidence) ** (1 / clean_cycles))


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """One check's word on one scenario."""

    check: str
    verdict: Verdict
    message: str
    evidence: tuple[int, ...] = ()
    findings: int = 0
    cycle: int | None = None
    """The cycle (from 1) in which its first evidence lies."""
    required: bool = True
    """Whether the scenario needs it to be decided; a failure counts either way."""


@dataclass(frozen=True, slots=True)
class FaultCount:
    """How often a fault was asked for and how often it was proven."""

    fault: str
    asked: int
    seen: int


@dataclass(frozen=True, slots=True)
class AudioVerdict:
    """How audio fared in a scenario, over all its connections (see `AudioFared`).

    It judges nobody: faults were put on it. None: unknown.
    """

    seconds: float = 0.0
    chunks: int = 0
    late: int | None = None
    lost: int | None = None
    ahead_min_ms: float | None = None
    answer_worst_ms: float | None = None
    clock_drift_ppm: float | None = None
    clock_error_us: int | None = None
    device_buffer_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ScenarioVerdict:
    """One scenario: what was done, what was seen, what the checks say."""

    scenario: str
    verdict: Verdict
    cycles: int
    first_failing_cycle: int | None
    seconds: float
    faults: tuple[FaultCount, ...] = ()
    checks: tuple[CheckVerdict, ...] = ()
    reason: str | None = None
    """Why it is inconclusive although no check says so: a fault unseen, a thing lacking."""
    proven_cycles: int = 0
    """Cycles in which every fault asked for was seen: only these bound the failure rate."""
    failure_rate_bound: float | None = None
    """95 % upper bound on the failure rate a cycle; None unless the verdict is `pass`."""
    audio: AudioVerdict | None = None
    """How audio fared, where any was played."""
    first_event: int = 0
    last_event: int | None = None


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """One run on one board."""

    verdict: Verdict
    board: str
    firmware: dict[str, Any] = field(default_factory=dict)
    out: str = ""
    seed: int = 0
    scenarios: tuple[ScenarioVerdict, ...] = ()
    reason: str | None = None
