"""The device stays who it is: one client id, a clock that only goes forward."""

from __future__ import annotations

from rig.checks.connections import follow
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, failed, inconclusive, passed
from rig.history.events import Boot, ConnectionClosed, CrashBegan, Frame, LogLine, ResetAsked
from rig.protocol.payload import payload_of

HELD_UP_US = 10_000_000
"""How long a frame may be held up on its way (closed window, silence): 10 s."""

LOG_FALL_MS = 3_000
"""How far the log's own time must fall: less is two tasks' lines out of order, or the change from
the boot loader's clock to the system's."""
_WRAP_MS = 1 << 32


class _LogClock:
    """The log's time stamps, in the order of one serial line. Two lines on either side have to
    agree: a digit spoilt by noise is no reboot."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._before: list[tuple[int, int]] = []
        self._fallen: tuple[int, int] | None = None

    def take(self, n: int, ms: int) -> tuple[int, int, int, int] | None:
        """A fall, as (event, ms) before and after it; None while there is none."""
        if len(self._before) == 2:
            least = min(self._before, key=lambda each: each[1])
            if ms < least[1] - LOG_FALL_MS and least[1] < _WRAP_MS - 60_000:
                if self._fallen is not None:
                    return *least, *self._fallen
                self._fallen = n, ms
                return None
        self._fallen = None
        self._before = [*self._before[-1:], (n, ms)]
        return None


@check(
    "client_id_stable",
    title="the client id is the same over all reconnects",
    source="invariant 4: Sendspin spec, client/hello",
)
def client_id_stable(history: Judged) -> Outcome:
    """Every opening message carries the same client_id (noise: client/init, its static key)."""
    first: tuple[int, object] | None = None
    hellos = 0
    for entry, talk in follow(history):
        frame = entry.event
        if talk is None or talk.opening is not entry or not isinstance(frame, Frame):
            continue
        client_id = payload_of(frame).get("client_id")
        hellos += 1
        if first is None:
            first = entry.n, client_id
        elif client_id != first[1]:
            return failed(f"client_id was {first[1]!r}, then {client_id!r}", first[0], entry.n)
    if hellos < 2 or first is None:
        return inconclusive(f"{hellos} opening messages: two are needed to compare")
    if not isinstance(first[1], str):
        return failed(f"client_id is {first[1]!r}, not a string", first[0])
    return passed(f"{hellos} opening messages, one client id")


@check(
    "uptime_never_falls",
    title="the device's clock never falls back without a boot",
    source="invariants 7 and 19: client_transmitted in client/time is esp_timer, us since boot",
)
def uptime_never_falls(history: Judged) -> Outcome:
    """`client_transmitted` only rises, but over a boot, a crash or a reset that was asked for.

    On one connection it rises strictly; between connections, whose bytes may be held up by the
    network or by a fault, a fall of more than `HELD_UP_US` is a reboot that nobody told of. So is
    a fall of the log's own time stamps: a restart whose banner was lost.
    """
    latest: tuple[int, int] | None = None
    by_conn: dict[int, tuple[int, int]] = {}
    seen = 0
    log = _LogClock()
    for entry, _ in follow(history, Boot, ResetAsked, CrashBegan, LogLine):
        event = entry.event
        if isinstance(event, Boot | ResetAsked | CrashBegan):
            latest = None
            by_conn.clear()
            log.forget()
        elif isinstance(event, LogLine) and event.device_ms is not None:
            if (fall := log.take(entry.n, event.device_ms)) is not None:
                told = f"the log's time fell from {fall[1]} to {fall[3]} ms, with no boot told of"
                return failed(told, fall[0], fall[2])
        elif isinstance(event, ConnectionClosed):
            by_conn.pop(event.conn, None)
        if not isinstance(event, Frame) or event.sender != "device" or event.type != "client/time":
            continue
        uptime = payload_of(event).get("client_transmitted")
        if not isinstance(uptime, int) or isinstance(uptime, bool):
            continue
        seen += 1
        before = by_conn.get(event.conn)
        if before is not None and uptime <= before[1]:
            return failed(
                f"connection {event.conn}: the device's clock went from {before[1]} to {uptime} us",
                before[0],
                entry.n,
            )
        if latest is not None and uptime < latest[1] - HELD_UP_US:
            return failed(
                f"the device's clock fell from {latest[1]} to {uptime} us, with no boot told of",
                latest[0],
                entry.n,
            )
        by_conn[event.conn] = entry.n, uptime
        if latest is None or uptime > latest[1]:
            latest = entry.n, uptime
    if seen < 2:
        return inconclusive(f"{seen} clock values from the device: two are needed to compare")
    return passed(f"{seen} clock values, never falling back")
