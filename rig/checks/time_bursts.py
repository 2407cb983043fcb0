"""The clock's questions: one at a time, eight in a burst, ten seconds apart. Invariant 8."""

from __future__ import annotations

from dataclasses import dataclass

from rig.checks.connections import follow
from rig.checks.owed import DISTURBING, disturbs, verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import ConnectionClosed, Frame, Settled
from rig.protocol.payload import payload_of

SIZE = 8
NEAR_US = 600_000
"""Questions nearer than this belong to one burst (5 to 20 ms apart, measured)."""
PAUSE_US = 9_500_000
"""Between bursts of eight: 10 s, less what clocks err."""


@dataclass(slots=True)
class _Asking:
    """A connection's questions: the latest, and the burst that it is in."""

    clock: int
    n: int
    began: int
    count: int = 1
    answered: bool = False


@check(
    "time_bursts",
    title="one client/time outstanding at most in a burst, eight to a burst, ten seconds between",
    source="invariant 8: sendspin-cpp time_burst.cpp (v0.5.0 to v0.9.x alike). The specification "
    "asks only for often enough: a device that asks at another pace has no bursts to judge",
)
def time_bursts(history: Judged) -> Outcome:
    """Measured on the device's own clock, so that frames held up on their way count rightly.

    Under a fault an answer may be lost: who asks again then is not judged for that.
    """
    asking: dict[int, _Asking] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    peace = True
    for entry, _ in follow(history, *DISTURBING, Settled):
        event = entry.event
        if isinstance(event, Settled):
            peace = True
        elif disturbs(event):
            peace = False
        elif isinstance(event, ConnectionClosed):
            asking.pop(event.conn, None)
        if not isinstance(event, Frame):
            continue
        before = asking.get(event.conn)
        if event.sender == "server" and event.type == "server/time" and before is not None:
            before.answered = True
        clock = payload_of(event).get("client_transmitted")
        if event.sender != "device" or event.type != "client/time" or type(clock) is not int:
            continue
        judged += 1
        if before is None:
            asking[event.conn] = _Asking(clock, entry.n, clock)
            continue
        apart = clock - before.clock
        if apart >= NEAR_US:
            if before.count == SIZE and apart < PAUSE_US:
                told = (
                    f"connection {event.conn}: client/time {apart / 1e6:.3f} s after a burst of 8"
                )
                broken.append((told, (before.n, entry.n)))
            asking[event.conn] = _Asking(clock, entry.n, clock)
            continue
        if peace and not before.answered:
            told = f"connection {event.conn}: client/time again, the one before not yet answered"
            broken.append((told, (before.n, entry.n)))
        elif before.count + 1 == SIZE + 1:
            told = f"connection {event.conn}: a ninth client/time "
            told += f"{(clock - before.began) / 1e6:.3f} s after the first of its burst"
            broken.append((told, (entry.n,)))
        asking[event.conn] = _Asking(clock, entry.n, before.began, before.count + 1)
    return verdict_of(broken, judged, "client/time, one at a time", "no client/time came")
