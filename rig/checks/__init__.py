"""Checks: one invariant a function, pure, over a history. Nobody else judges."""

from rig.checks.registry import Check, Judged, all_checks, check, get_check
from rig.checks.verdict import Outcome, Verdict, failed, inconclusive, passed, worst

__all__ = [
    "Check",
    "Judged",
    "Outcome",
    "Verdict",
    "all_checks",
    "check",
    "failed",
    "get_check",
    "inconclusive",
    "passed",
    "worst",
]
