"""WebSocket's own manners: pings, Close, masks. Invariants 15 and 16."""

from __future__ import annotations

from rig.checks.connections import follow, words
from rig.checks.owed import DISTURBING, Ledger, verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import ConnectionClosed, Frame, Settled, TcpFin, TcpReset

ANSWER_WITHIN_S = 3.0
"""A ping or a Close is answered within this, when nothing disturbs the device."""


@check(
    "pings_answered",
    title="a ping is answered by a pong with the same payload",
    source="invariant 15: RFC 6455 sections 5.5.2 and 5.5.3",
)
def pings_answered(history: Judged) -> Outcome:
    """The latest ping of a connection gets its own payload back in time (RFC: older need not)."""
    ledger = Ledger(ANSWER_WITHIN_S)
    latest: dict[int, str] = {}
    for entry, talk in follow(history, *DISTURBING, Settled):
        match entry.event:
            case Frame(sender="server", opcode="ping", conn=conn, head=head) if (
                talk is not None and talk.upgraded and not talk.server_ended and not talk.goodbye
            ):
                latest[conn] = head or ""
                told = f"connection {conn}: the ping {head or ''!r} was not answered within "
                ledger.owe(conn, "pong", entry, f"{told}{ANSWER_WITHIN_S:g} s")
            case Frame(sender="device", opcode="pong", conn=conn, head=head):
                if latest.get(conn) == (head or ""):
                    ledger.pay(conn, "pong")
            case Frame(opcode="close", conn=conn):
                ledger.forgive(conn)
            case ConnectionClosed(conn=conn):
                latest.pop(conn, None)
            case _:
                pass
        ledger.settle(entry)
    return ledger.outcome("pings, each answered with its own payload")


@check(
    "close_answered",
    title="a Close is answered by a Close, or at least by the end of the connection",
    source="invariant 15: RFC 6455 section 5.5.1; ESP-IDF httpd_ws answers it by itself. A device "
    "that only ends the connection leaves nobody waiting: told of, not a failure",
)
def close_answered(history: Judged) -> Outcome:
    """The server's Close gets a Close back in time, or the connection ends.

    (ESP-IDF lets work that is queued already follow its own Close: that is not judged.)
    """
    ledger = Ledger(ANSWER_WITHIN_S)
    silent = 0
    left: set[int] = set()
    for entry, talk in follow(history, *DISTURBING, Settled):
        match entry.event:
            case Frame(sender="server", opcode="close", conn=conn) if (
                talk is not None
                and talk.upgraded
                and not (talk.server_ended or talk.device_ended or talk.goodbye)
                and not ledger.owes(conn, "close")
                and conn not in left
            ):
                told = f"connection {conn}: the server's Close was not answered within "
                ledger.owe(conn, "close", entry, f"{told}{ANSWER_WITHIN_S:g} s")
            case Frame(sender="device", opcode="close", conn=conn):
                ledger.pay(conn, "close")
                left.add(conn)  # the server's Close is the answer to this one, or crossed it
            case Frame(sender="device", type="client/goodbye", conn=conn):
                ledger.forgive(conn)  # it was leaving by itself: its FIN answers nothing
            case TcpFin(sender="device", conn=conn) | TcpReset(sender="device", conn=conn):
                silent += ledger.pay(conn, "close")
            case ConnectionClosed(conn=conn) | TcpReset(conn=conn):
                left.discard(conn)
            case _:
                pass
        ledger.settle(entry)
    ended = f" ({silent} by the end of the connection alone)" if silent else ""
    return ledger.outcome(f"Closes, each answered{ended}")


@check(
    "frames_framed_right",
    title="who dialled masks its frames, who listens does not; legacy is all text, noise sealed",
    source="invariant 16: RFC 6455 section 5.1 (only who dialled masks); Sendspin spec, "
    "Communication: legacy devices send text; after the noise handshake all is binary",
)
def frames_framed_right(history: Judged) -> Outcome:
    """Judges the device's frames: masked where it dialled, and there alone."""
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history):
        event = entry.event
        if talk is None or not isinstance(event, Frame) or event.sender != "device":
            continue
        if event.sealed is not None:
            continue
        judged += 1
        sealed = talk.transport is not None and talk.transport != entry.n
        if event.masked != talk.dialled:
            told = "masked" if event.masked else "not masked, and the device dialled"
            broken.append((f"connection {event.conn}: {words(entry)} is {told}", (entry.n,)))
        elif talk.generation == "legacy" and event.opcode == "binary":
            told = f"connection {event.conn}: {words(entry)} from a legacy device"
            broken.append((told, (entry.n,)))
        elif talk.generation == "noise" and sealed and event.opcode == "text":
            told = (
                f"connection {event.conn}: {words(entry)} in the clear, after the noise handshake"
            )
            broken.append((told, (entry.n,)))
    return verdict_of(broken, judged, "device frames, each framed right", "the device sent nothing")
