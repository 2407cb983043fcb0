"""Stretches of a history, and how a check is run over one."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rig.checks.registry import Check, Judged
from rig.checks.verdict import Outcome, Verdict
from rig.errors import HistoryError
from rig.history import Entry, Event, History


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events `first` to `last` of a history on disk: memory does not grow with its length."""

    history: History
    first: int = 1
    last: int | None = None
    has_console: bool = True

    def __iter__(self) -> Iterator[Entry]:
        return self.history.entries(first=self.first, last=self.last)

    def only(self, *kinds: type[Event]) -> Iterator[Entry]:
        """The entries of these kinds."""
        tags = frozenset(kind.tag for kind in kinds)
        return self.history.entries(tags, first=self.first, last=self.last)


class Recorded:
    """A history in memory, for tests and for short stretches."""

    def __init__(self, events: Iterable[Event], *, has_console: bool = True) -> None:
        self.entries = tuple(Entry(n, event) for n, event in enumerate(events, 1))
        self.has_console = has_console

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def only(self, *kinds: type[Event]) -> Iterator[Entry]:
        """The entries of these kinds."""
        return (entry for entry in self.entries if isinstance(entry.event, kinds))


def run_check(check: Check, history: Judged) -> Outcome:
    """Judge `history`; a check that raises is inconclusive, with its traceback.

    A history that cannot be read raises `HistoryError`: that is no check's fault.
    """
    try:
        outcome = check.judge(history)
    except HistoryError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever a check does wrong must not become a pass)
        lines = "".join(traceback.format_exception(error)[-3:]).rstrip()
        return _broke(check, f"{error!r}\n{lines}")
    if not isinstance(outcome, Outcome):
        return _broke(check, f"it said {outcome!r}, no outcome")
    return outcome


def _broke(check: Check, what: str) -> Outcome:
    message = f"the check {check.name} broke: {what}"
    return Outcome(Verdict.INCONCLUSIVE, message, broken=True)
