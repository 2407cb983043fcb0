"""A peer that proves nothing is sent away: invariant 14."""

from __future__ import annotations

from rig.checks.behaviour import PROVE_THEN_ADMIT
from rig.checks.connections import follow
from rig.checks.owed import DISTURBING, Ledger
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, inconclusive
from rig.history.events import (
    ConnectionOpened,
    Event,
    Frame,
    LogLine,
    Settled,
    UpgradeAnswered,
)

UNPROVEN_S = 33.0
"""A connection without a server/hello is gone at 30 s (30.002 measured), and some."""

SILENT_S = 8.0
"""A connection without an upgrade request is gone at 5 s, and some."""


def _sendspin_cpp(event: Event) -> bool:
    """Whether `event` is a sign of v0.7.0 on that no other maker's device gives."""
    noise = isinstance(event, Frame) and event.type == "client/init"
    return not noise and PROVE_THEN_ADMIT.shown_by(event)


@check(
    "unproven_reaped",
    title="a peer that never greets is gone at 30 s, one that never upgrades at 5 s",
    source="invariant 14: sendspin-cpp v0.7.0 (earlier versions keep them for ever); noise: "
    "Sendspin spec 1.0.0-rc1, Multiple servers: without server/activate for 30 s",
)
def unproven_reaped(history: Judged) -> Outcome:
    """Only of versions known to be v0.7.0 on, and of connections that nothing disturbs.

    The 5 s are sendspin-cpp's own: only of a device that shows itself to be that.
    """
    own = any(_sendspin_cpp(entry.event) for entry in history.only(Frame, LogLine))
    if not any(PROVE_THEN_ADMIT.shown_by(e.event) for e in history.only(Frame, LogLine)):
        return inconclusive(
            f"nothing shows that the device is of {PROVE_THEN_ADMIT.since} or later"
        )
    silent, unproven = Ledger(SILENT_S), Ledger(UNPROVEN_S)
    for entry, talk in follow(history, *DISTURBING, Settled):
        event = entry.event
        match event:
            case ConnectionOpened(conn=conn) if own:
                told = f"connection {conn}: no upgrade, and still there after {SILENT_S:g} s"
                silent.owe(conn, "end", entry, told)
            case UpgradeAnswered(conn=conn):
                silent.forgive(conn)
                told = f"connection {conn}: never greeted, and still there after {UNPROVEN_S:g} s"
                unproven.owe(conn, "end", entry, told)
            case Frame(sender="server", type="server/hello", sealed=None, conn=conn):
                unproven.forgive(conn)
            case Frame(sender="server", type="server/activate" | "server/error", conn=conn):
                unproven.forgive(conn)
            case _:
                if talk is not None and talk.device_ended == entry.n:
                    age_s = (event.t - talk.opened_t) / 1e9
                    for ledger, least_s in ((silent, SILENT_S / 2), (unproven, UNPROVEN_S / 2)):
                        if age_s >= least_s:  # one refused at once proves no reaper
                            ledger.pay(talk.conn, "end")
        silent.settle(entry)
        unproven.settle(entry)
    silent.paid += unproven.paid
    silent.broken += unproven.broken
    silent.cancelled += unproven.cancelled
    return silent.outcome("unproven peers, each sent away")
