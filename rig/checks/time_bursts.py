"""The clock's questions: one at a time, eight in a burst, ten seconds apart. Invariant 8."""

from __future__ import annotations

from rig.checks.behaviour import payload_of
from rig.checks.connections import follow
from rig.checks.owed import verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import ConnectionClosed, Frame

BURST = 8
PAUSE_US = 9_500_000
"""Between bursts, and until an unanswered question may be followed: 10 s, less what clocks err."""


@check(
    "time_bursts",
    title="one client/time outstanding at most, bursts of eight, ten seconds between bursts",
    source="invariant 8: sendspin-cpp time_burst.cpp (v0.5.0 to v0.7.0 alike)",
)
def time_bursts(history: Judged) -> Outcome:
    """Measured on the device's own clock, so that frames held up on their way count rightly."""
    asked: dict[int, tuple[int, int]] = {}
    outstanding: set[int] = set()
    bursts: dict[int, tuple[int, int]] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, _ in follow(history):
        event = entry.event
        if isinstance(event, ConnectionClosed):
            asked.pop(event.conn, None)
            bursts.pop(event.conn, None)
            outstanding.discard(event.conn)
        if not isinstance(event, Frame):
            continue
        conn = event.conn
        if event.sender == "server" and event.type == "server/time":
            outstanding.discard(conn)
        if event.sender != "device" or event.type != "client/time":
            continue
        clock = payload_of(event).get("client_transmitted")
        if not isinstance(clock, int) or isinstance(clock, bool):
            continue
        judged += 1
        before = asked.get(conn)
        near = before is not None and clock - before[1] < PAUSE_US
        start, count = bursts.get(conn, (clock, 0)) if near else (clock, 0)
        bursts[conn] = start, count + 1
        if before is not None and near and conn in outstanding:
            told = f"connection {conn}: client/time again, the one before not yet answered"
            broken.append((told, (before[0], entry.n)))
        elif count + 1 == BURST + 1 and clock - start < PAUSE_US:
            told = f"connection {conn}: a ninth client/time {(clock - start) / 1e6:.3f} s after"
            broken.append((f"{told} the first of its burst", (entry.n,)))
        asked[conn] = entry.n, clock
        outstanding.add(conn)
    return verdict_of(broken, judged, "client/time, one at a time", "no client/time came")
