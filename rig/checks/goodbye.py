"""Goodbyes: a known reason, and then the end. Invariants 10 and 11."""

from __future__ import annotations

from rig.checks.connections import GOODBYE, Conversation, follow, words
from rig.checks.owed import DISTURBING, Ledger, verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import EarlyBytes, Event, Frame, Settled
from rig.protocol.names import GOODBYE_REASONS
from rig.protocol.payload import payload_of

CLOSE_WITHIN_S = 5.0
"""A device that said goodbye ends the connection within this, when nothing disturbs it."""


@check(
    "goodbye_reason_known",
    title="every goodbye gives a reason that the protocol knows",
    source="invariant 10: Sendspin spec, client/goodbye",
)
def goodbye_reason_known(history: Judged) -> Outcome:
    """`reason` of client/goodbye is one of its generation's; before any opening, of either's."""
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history):
        event = entry.event
        if not isinstance(event, Frame | EarlyBytes) or event.type != GOODBYE:
            continue
        if isinstance(event, Frame) and event.sender != "device":
            continue
        judged += 1
        generation = talk.generation if talk is not None else None
        known = GOODBYE_REASONS[generation or "noise"]
        payload = (event.message or {}).get("payload")
        reason = payload.get("reason") if isinstance(payload, dict) else None
        if not isinstance(reason, str) or reason not in known:
            told = f"connection {event.conn}: goodbye with the reason {reason!r:.80}"
            broken.append((f"{told}, known are {', '.join(sorted(known))}", (entry.n,)))
    return verdict_of(
        broken, judged, "goodbyes, each with a known reason", "the device said no goodbye"
    )


def _closes(event: Event) -> bool:
    return isinstance(event, Frame) and event.sender == "device" and event.opcode == "close"


def _speaks(talk: Conversation, frame: Frame) -> bool:
    """After the goodbye also a seal whose inside nobody recorded is a word too many."""
    return talk.says(frame) or (frame.sender == "device" and frame.opcode == "binary")


@check(
    "goodbye_last",
    title="a goodbye is the device's last message, and it then ends the connection",
    source="invariant 11: Sendspin spec, client/goodbye",
)
def goodbye_last(history: Judged) -> Outcome:
    """Nothing is said after a goodbye, and the device's Close, FIN or RST follows in time.

    A goodbye that is the connection's first word is `opening_first`'s, when more follows.
    """
    ledger = Ledger(CLOSE_WITHIN_S)
    for entry, talk in follow(history, *DISTURBING, Settled):
        event = entry.event
        if talk is not None and isinstance(event, Frame) and _speaks(talk, event):
            if talk.after_goodbye is entry and talk.goodbye and talk.goodbye is not talk.first:
                told = f"connection {event.conn}: {words(entry)} after the goodbye"
                ledger.broken.append((told, (talk.goodbye.n, entry.n)))
            elif talk.goodbye is entry and talk.server_ended is None:
                reason = payload_of(event).get("reason")
                told = f"connection {event.conn}: goodbye ({reason!r:.80}), and no end within "
                told += f"{CLOSE_WITHIN_S:g} s"
                ledger.owe(event.conn, "end", entry, told)
        elif talk is not None and (talk.device_ended == entry.n or _closes(event)):
            ledger.pay(talk.conn, "end")
        ledger.settle(entry)
    return ledger.outcome("goodbyes, each the last word")
