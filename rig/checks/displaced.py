"""Several servers: the one that is sent away is told why, and who played last is remembered."""

from __future__ import annotations

from collections.abc import Mapping

from rig.checks.behaviour import greets, reason_of
from rig.checks.connections import GOODBYE, follow
from rig.checks.owed import DISTURBING, verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import ConnectionClosed, Frame, Settled, TcpFin, TcpReset
from rig.protocol.payload import payload_of

REJECTED = "concurrent_attempt"
"""Why a newcomer is turned away, in the noise generation."""


@check(
    "displaced_told",
    title="a server that is sent away for another one gets a goodbye that says so",
    source="Sendspin spec, Multiple Servers and client/goodbye (`another_server`; noise, a "
    "newcomer: `concurrent_attempt`); sendspin-device facts, 'Goodbye reasons'",
)
def displaced_told(history: Judged) -> Outcome:
    """Of two greeted servers the device ends one, in peace, and nobody else had ended it.

    In noise it may be a newcomer that is turned away: which one is told what is `handoff_table`'s.
    """
    live: set[int] = set()
    peace = True
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history, *DISTURBING, Settled):
        event = entry.event
        if isinstance(event, Settled):
            peace = True
        elif isinstance(event, DISTURBING):
            peace = False
        elif isinstance(event, Frame):
            if greets(event):
                live.add(event.conn)
            elif event.opcode == "close":
                live.discard(event.conn)  # an end of its own kind, whoever began it
            elif event.type == GOODBYE and event.conn in live and len(live) > 1 and peace:
                live.discard(event.conn)
                judged += 1
                reason = payload_of(event).get("reason")
                newcomer = talk is not None and talk.generation == "noise"
                if reason != "another_server" and not (newcomer and reason == REJECTED):
                    told = f"connection {event.conn}: sent away with {reason!r:.40}"
                    broken.append((f"{told}, though another server had come", (entry.n,)))
        elif isinstance(event, TcpFin | TcpReset) and event.sender == "device":
            rivals = event.conn in live and len(live) > 1
            live.discard(event.conn)
            if rivals and peace and talk is not None and talk.server_ended is None:
                judged += 1
                told = f"connection {event.conn}: ended by the device without a goodbye"
                broken.append((f"{told}, when another server had come", (entry.n,)))
        elif isinstance(event, TcpFin | TcpReset | ConnectionClosed):
            live.discard(event.conn)
    return verdict_of(broken, judged, "servers sent away, each told why", "no server was sent away")


def _plays(event: Frame, current: int, reasons: Mapping[int, str | None]) -> bool:
    """Whether the device takes the server in use for one that plays, by `event`."""
    if event.sealed is not None:
        return reasons.get(current) == "playback"
    payload = payload_of(event)
    told = event.type == "group/update" and payload.get("playback_state") == "playing"
    return told and event.conn == current


@check(
    "last_played_kept",
    title="of two servers that only looked, the one that played last is kept, over reboots too",
    source="Sendspin spec, Multiple Servers; sendspin-device facts, 'Hand-off'; sendspin-cpp: "
    "'Persisted last played server'",
)
def last_played_kept(history: Judged) -> Outcome:
    """Judged from the first server that was seen playing: what is remembered from before is not.

    A server plays, for the device, when it says so to a connection that is in use: in its
    group/update, or in noise by the activity `playback`.
    """
    ids: dict[int, str] = {}
    reasons: dict[int, str | None] = {}
    current: int | None = None
    last: str | None = None
    case: tuple[int, int, int] | None = None
    """(the one in use, the newcomer, event of its greeting)"""
    peace = True
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history, *DISTURBING, Settled):
        event = entry.event
        if isinstance(event, Settled):
            peace = True
        elif isinstance(event, DISTURBING):
            peace, case = False, None
        elif isinstance(event, TcpFin | TcpReset | ConnectionClosed):
            if case is not None and event.conn in case[:2]:
                case = None
            reasons.pop(event.conn, None)
            current = None if current == event.conn else current
        elif isinstance(event, Frame) and talk is not None:
            if greets(event):
                if event.conn not in reasons:
                    told_id = payload_of(event).get("server_id")
                    ids[event.conn] = talk.server_id if event.sealed else str(told_id)
                    others = [conn for conn in reasons if conn != event.conn]
                    case = (others[0], event.conn, entry.n) if others == [current] else None
                reasons[event.conn] = reason_of(event)
            elif event.type == "client/state" and event.sender == "device":
                current = event.conn if event.conn in reasons else current
            if current is not None and _plays(event, current, reasons):
                last = ids[current]
            if event.type == GOODBYE and case is not None and event.conn in case[:2]:
                old, new, greeted = case
                case = None
                reasons.pop(event.conn, None)
                both = reasons.get(old, "discovery"), reasons.get(new, "discovery")
                if last is None or not peace or both != ("discovery", "discovery"):
                    continue
                judged += 1
                right = new if last == ids.get(old) or last != ids.get(new) else old
                if event.conn != right:
                    told = f"connection {event.conn} was sent away, and {last} had played last"
                    broken.append((told, (greeted, entry.n)))
    return verdict_of(
        broken,
        judged,
        "hand-offs between two that only looked, by who played last",
        "no two servers met that only looked, after one was seen playing",
    )
