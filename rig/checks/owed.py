"""What a device owes: an answer within a time, in peace. Faults and ends cancel it."""

from __future__ import annotations

from dataclasses import dataclass, field

from rig.checks.verdict import Outcome, failed, inconclusive, passed
from rig.history.events import (
    Boot,
    ConnectionClosed,
    CrashBegan,
    Entry,
    Event,
    FaultAsked,
    FaultHealed,
    FaultSeen,
    LinkEffect,
    ResetAsked,
    Settled,
    TcpFin,
    TcpReset,
)

DISTURBING: tuple[type[Event], ...] = (
    FaultAsked,
    FaultSeen,
    FaultHealed,
    LinkEffect,
    CrashBegan,
    Boot,
    ResetAsked,
)
"""After one of these nothing is owed in time until the device has settled, but see `disturbs`."""

ORDERLY = frozenset({"close"})
"""Faults that are none: the connection ends as the protocol has it, and all is owed as before."""


def disturbs(event: Event) -> bool:
    """Whether nothing is owed in time from `event` on."""
    if isinstance(event, FaultAsked | FaultSeen | FaultHealed) and event.fault in ORDERLY:
        return False
    return isinstance(event, DISTURBING)


@dataclass(frozen=True, slots=True)
class Debt:
    """One answer that is waited for."""

    conn: int
    deadline: int
    words: str
    evidence: tuple[int, ...]


@dataclass(slots=True)
class Ledger:
    """Answers owed by (connection, name), with what became of them.

    Give it every event of the history (`settle`) *after* the check has looked at it, so that an
    answer that comes late on a busy host still counts as one.
    """

    within_s: float
    paid: int = 0
    cancelled: int = 0
    broken: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    disturbed: bool = False
    _owed: dict[tuple[int, str], Debt] = field(default_factory=dict)

    def owe(self, conn: int, name: str, entry: Entry, words: str, *more: int) -> None:
        """From `entry` on the device owes something on `conn`; under a fault it owes nothing."""
        if self.disturbed:
            self.cancelled += 1
            return
        deadline = entry.event.t + int(self.within_s * 1e9)
        self._owed[conn, name] = Debt(conn, deadline, words, (*more, entry.n))

    def owes(self, conn: int, name: str) -> bool:
        """Whether it is still waited for."""
        return (conn, name) in self._owed

    def pay(self, conn: int, name: str) -> bool:
        """The answer came: whether it was owed."""
        paid = self._owed.pop((conn, name), None) is not None
        self.paid += paid
        return paid

    def forgive(self, conn: int) -> None:
        """Nothing is owed on `conn` any more."""
        for key in [key for key in self._owed if key[0] == conn]:
            del self._owed[key]
            self.cancelled += 1

    def settle(self, entry: Entry) -> None:
        """Account for an event: what ran out, what it cancels."""
        event = entry.event
        for key, debt in list(self._owed.items()):
            if event.t > debt.deadline:
                del self._owed[key]
                self.broken.append((debt.words, debt.evidence))
        if isinstance(event, Settled):
            self.disturbed = False
        elif disturbs(event):
            self.disturbed = True
            self.cancelled += len(self._owed)
            self._owed.clear()
        elif isinstance(event, ConnectionClosed | TcpFin | TcpReset):
            self.forgive(event.conn)

    def outcome(self, what: str) -> Outcome:
        """The verdict: `what` names the answers (`pings answered`)."""
        if self.broken:
            return verdict_of(self.broken, 0, "", "")
        lacking = f"no {what}: none was due in peace"
        if self.cancelled:
            lacking += f" ({self.cancelled} overtaken by a fault or an end)"
        return verdict_of([], self.paid, what, lacking)


def verdict_of(
    broken: list[tuple[str, tuple[int, ...]]], judged: int, what: str, lacking: str
) -> Outcome:
    """The usual verdict: the first of `broken`, else a pass over `judged`, else what is lacking."""
    if broken:
        message, evidence = broken[0]
        return failed(message, *evidence, findings=len(broken))
    if not judged:
        return inconclusive(lacking)
    return passed(f"{judged} {what}")
