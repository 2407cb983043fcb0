"""Verdicts: three values, and what proves them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a check says. Never `pass` for what was not seen."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> int:
        """The process's exit code for it: 0, 1 or 3."""
        return {"pass": 0, "fail": 1, "inconclusive": 3}[self.value]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of a whole: one failure fails it, else one doubt makes it inconclusive.

    A whole of nothing is inconclusive.
    """
    seen = set(verdicts)
    if Verdict.FAIL in seen:
        return Verdict.FAIL
    if Verdict.INCONCLUSIVE in seen or not seen:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found in one history, with the numbers of the events that prove it."""

    verdict: Verdict
    message: str
    evidence: tuple[int, ...] = ()
    findings: int = 0
    """How many separate violations there are (`evidence` is of the first)."""
    broken: bool = False
    """The check itself broke: never to be overlooked, even where it is not required."""


def passed(message: str, *evidence: int) -> Outcome:
    """The check holds: `message` says what was looked at."""
    return Outcome(Verdict.PASS, message, evidence)


def failed(message: str, *evidence: int, findings: int = 1) -> Outcome:
    """The check is violated: `message` says how, `evidence` where."""
    return Outcome(Verdict.FAIL, message, evidence, findings)


def inconclusive(message: str, *evidence: int) -> Outcome:
    """The history does not decide it: `message` says what is missing."""
    return Outcome(Verdict.INCONCLUSIVE, message, evidence)
