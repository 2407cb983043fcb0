"""One server at a time: who is kept when two are there. Invariants 6, 12 and 13."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rig.checks.behaviour import PROVE_THEN_ADMIT, greets, reason_of
from rig.checks.connections import GOODBYE, follow
from rig.checks.owed import DISTURBING, Ledger, disturbs, verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, inconclusive
from rig.history.events import ConnectionClosed, Entry, Frame, LogLine, Settled, TcpFin, TcpReset
from rig.protocol.payload import payload_of

DISMISSED_WITHIN_S = 3.0
"""Of two established servers one is dismissed within this, when nothing disturbs the device."""


@dataclass(slots=True)
class Rival:
    """A connection that a server has greeted validly, as far as the hand-off goes."""

    conn: int
    reason: str | None
    greeted: int
    noise: bool = False
    against: Rival | None = None
    """The one established connection there was when this one was greeted."""
    alone: bool = True
    """No other connection was greeted or ended since this one was."""
    state: int | None = None


def _rivals(history: Judged) -> Iterator[tuple[Entry, Rival, dict[int, Rival], bool]]:
    """Each hello, first state and goodbye, with all live rivals and whether peace holds."""
    live: dict[int, Rival] = {}
    peace = True
    for entry, _ in follow(history, *DISTURBING, Settled):
        event = entry.event
        if isinstance(event, Settled):
            peace = True
        elif disturbs(event):
            peace = False
        elif isinstance(event, TcpFin | TcpReset | ConnectionClosed):
            if live.pop(event.conn, None) is not None:
                for other in live.values():
                    other.alone = False
        elif isinstance(event, Frame):
            rival = live.get(event.conn)
            if greets(event) and rival is None:
                for other in live.values():
                    other.alone = False
                noise = event.sealed is not None
                rival = Rival(event.conn, reason_of(event), entry.n, noise)
                others = list(live.values())
                if len(others) == 1 and (others[0].state is not None or noise):
                    rival.against = others[0]
                live[event.conn] = rival
                yield entry, rival, live, peace
            elif rival is not None and rival.noise and greets(event):
                rival.reason = reason_of(event)  # what it is there for may change
            elif rival is not None and event.sender == "device":
                if event.type == "client/state" and rival.state is None:
                    rival.state = entry.n
                    yield entry, rival, live, peace
                elif event.type == GOODBYE:
                    yield entry, rival, live, peace
                    live.pop(event.conn, None)
            elif rival is not None and event.opcode == "close":
                live.pop(event.conn, None)


def _gives_way(entry: Entry) -> str | None:
    """The reason of a goodbye that gives way to another server."""
    event = entry.event
    if not isinstance(event, Frame) or event.type != GOODBYE:
        return None
    reason = payload_of(event).get("reason")
    return reason if reason in ("another_server", "concurrent_attempt") else None


@check(
    "loser_not_told",
    title="the loser of a hand-off gets a goodbye and no client/state",
    source="invariant 6: sendspin-cpp v0.7.0 (prove-then-admit); before it a loser got both",
)
def loser_not_told(history: Judged) -> Outcome:
    """A newcomer that is turned away was told nothing. Only of versions known to be v0.7.0 on."""
    if not any(PROVE_THEN_ADMIT.shown_by(e.event) for e in history.only(Frame, LogLine)):
        return inconclusive(
            f"nothing shows that the device is of {PROVE_THEN_ADMIT.since} or later"
        )
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, rival, _, peace in _rivals(history):
        if not (_gives_way(entry) and rival.against and rival.alone and peace):
            continue
        judged += 1
        if rival.state is not None:
            told = f"connection {rival.conn}: lost the hand-off and was sent a client/state before"
            broken.append((told, (rival.greeted, rival.state, entry.n)))
    return verdict_of(broken, judged, "losers, none told the state", "nobody lost a hand-off")


@check(
    "handoff_table",
    title="who is kept of two servers is decided by the table",
    source="invariant 12: Sendspin spec, Multiple Servers: playback takes over; discovery (noise: "
    "no activity) does not take over from playback. (Two of these turn on who played last, which a "
    "device keeps over boots: not judged.) Noise: the displaced is told another_server, the "
    "rejected newcomer concurrent_attempt",
)
def handoff_table(history: Judged) -> Outcome:
    """One newcomer against one established connection, both in peace: the right one is kept."""
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    open_case: Rival | None = None
    for entry, rival, live, peace in _rivals(history):
        if rival.greeted == entry.n:
            open_case = rival if rival.against is not None else None
            continue
        case = open_case
        given = _gives_way(entry)
        if case is None or case.against is None or given is None:
            continue
        open_case = None
        held = case.conn in live and case.against.conn in live
        if not (peace and held and case.alone and rival in (case, case.against)):
            continue
        switched = rival is case.against
        if case.reason == "playback":
            right = switched
        elif case.reason == "discovery" and case.against.reason == "playback":
            right = not switched
        else:
            continue
        judged += 1
        evidence = (case.against.greeted, case.greeted, entry.n)
        if not right:
            told = f"connection {rival.conn} was sent away: {case.reason!r:.40} came against "
            broken.append((f"{told}{case.against.reason!r:.40}", evidence))
        elif case.noise and given != ("another_server" if switched else "concurrent_attempt"):
            told = f"connection {rival.conn} was told {given}, being "
            broken.append((f"{told}{'displaced' if switched else 'the newcomer'}", evidence))
    return verdict_of(
        broken, judged, "hand-offs by the table", "no hand-off that the table decides"
    )


@check(
    "one_server_at_a_time",
    title="at most one server is established at a time, and only it is talked to",
    source="invariants 13 and 9: Sendspin spec, Multiple Servers",
)
def one_server_at_a_time(history: Judged) -> Outcome:
    """When a second connection is told the state, one of the two is dismissed in time."""
    ledger = Ledger(DISMISSED_WITHIN_S)
    told_state: set[int] = set()
    waiting: dict[int, tuple[int, int]] = {}
    established = 0
    for entry, talk in follow(history, *DISTURBING, Settled):
        event = entry.event
        if isinstance(event, TcpFin | TcpReset | ConnectionClosed):
            told_state.discard(event.conn)
        elif talk is not None and isinstance(event, Frame):
            if event.sender == "device" and event.type == "client/state" and talk.server_hello:
                if event.conn not in told_state and talk.goodbye is None:
                    established += not told_state
                    for other in told_state:
                        words = f"connections {other} and {event.conn} are both established, "
                        words += f"neither dismissed within {DISMISSED_WITHIN_S:g} s"
                        waiting[other] = waiting[event.conn] = (other, event.conn)
                        ledger.owe(other, f"{event.conn}", entry, words)
                    told_state.add(event.conn)
            elif event.type == GOODBYE or event.opcode == "close":
                told_state.discard(event.conn)
        gone = getattr(event, "conn", None)
        if gone in waiting and gone not in told_state:
            first, second = waiting.pop(gone)
            ledger.pay(first, f"{second}")
        ledger.settle(entry)
    if established and not ledger.broken:
        ledger.paid += established
    return ledger.outcome("established connections, one at a time")
