"""The noise generation's opening, step by step, as strict as hello-first.

Judges what crosses in the clear and whether a frame is sealed; where the plaintext of the rig's own
session is recorded as text frames, its messages are judged too.
"""

from __future__ import annotations

from dataclasses import dataclass

from rig.checks.connections import GOODBYE, follow, words
from rig.checks.owed import DISTURBING, Ledger, disturbs, verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, inconclusive
from rig.history.events import (
    ConnectionClosed,
    Entry,
    Frame,
    ScenarioEnded,
    SealBroken,
    Settled,
    TcpFin,
    TcpReset,
)
from rig.protocol.sealed import init_wrong

ANSWER_WITHIN_S = 5.0
"""Each step of the opening is answered within this, when nothing disturbs the device."""
PATIENCE_S = 25.0
"""A provisional connection is dropped at 30 s: an end that late explains itself."""

_NOT_NOISE = "no connection was opened in the noise generation (client/init)"


@dataclass(slots=True)
class _Opening:
    """How far a noise connection has come."""

    init: int
    challenged: int | None = None
    """The server's noise/handshake (message 1)."""
    answered: int | None = None
    """The device's noise/handshake (message 2): transport mode from here on."""
    greeted: int | None = None
    """The plaintext client/hello, where it is recorded."""
    activated: bool = False
    refused: bool = False
    """The server sent server/error."""
    sealed: int | None = None
    """The device's first sealed frame."""
    dark: bool = False
    """The last sealed frame's inside is not known: it may have been a goodbye."""


def _heard(opening: _Opening, entry: Entry, frame: Frame) -> str | None:
    """Account for a device frame, or for what was inside one; what is wrong with it, if anything.

    A second opening message is `opened_once`'s, clear text after the handshake
    `frames_framed_right`'s.
    """
    if frame.sealed is not None:
        return _inside(opening, entry, frame)
    if frame.opcode == "binary":
        return None if opening.answered else "a sealed frame before its noise/handshake"
    if frame.type == "noise/handshake":
        if opening.challenged is None:
            return "noise/handshake before the server's"
        opening.answered = opening.answered or entry.n
        return None
    if opening.answered or frame.type == "client/init":
        return None
    return "only noise/handshake may follow client/init"


def _inside(opening: _Opening, entry: Entry, frame: Frame) -> str | None:
    if frame.type == "client/hello":
        opening.greeted = opening.greeted or entry.n
        return None
    if opening.activated or frame.type == GOODBYE:
        return None
    return "only client/hello may come before server/activate"


def _told(opening: _Opening, entry: Entry, frame: Frame) -> None:
    match frame.type:
        case "noise/handshake":
            opening.challenged = opening.challenged or entry.n
        case "server/activate":
            opening.activated = True
        case "server/error":
            opening.refused = True
        case _:
            pass


@check(
    "noise_opening_order",
    title="noise: client/init, noise/handshake, client/hello, and nothing else before activate",
    source="Sendspin spec 1.0.0-rc1, connection.md; facts sendspin-noise, 'Opening order'",
)
def noise_opening_order(history: Judged) -> Outcome:
    """Every message of the device comes at its step. (Which comes first is `opening_first`'s.)"""
    openings: dict[int, _Opening] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history):
        event = entry.event
        if isinstance(event, ConnectionClosed):
            openings.pop(event.conn, None)
        if not isinstance(event, Frame):
            continue
        opening = openings.get(event.conn)
        if event.sender == "server":
            if opening is not None:
                _told(opening, entry, event)
        elif opening is None:
            if talk is not None and talk.opening is entry and event.type == "client/init":
                openings[event.conn] = _Opening(entry.n)
                if (odd := init_wrong((event.message or {}).get("payload"))) is not None:
                    broken.append((f"connection {event.conn}: {odd[0]}", (entry.n,)))
        elif event.opcode in ("text", "binary") and event.fin:
            judged += event.type == "noise/handshake" and event.sealed is None
            wrong = _heard(opening, entry, event)
            if wrong is not None:
                told = f"connection {event.conn}: {words(entry)}: {wrong}"
                broken.append((told, (opening.init, entry.n)))
    return verdict_of(
        broken,
        judged,
        "noise handshakes, each in order",
        "no noise handshake was made" if judged else _NOT_NOISE,
    )


@check(
    "noise_end_explained",
    title="noise: the device does not end a connection without a word while it is opened",
    source="facts sendspin-noise: a stray frame on a recycled fd fails AEAD and kills the "
    "connection silently",
)
def noise_end_explained(history: Judged) -> Outcome:
    """In peace, once both sides shake hands, the device leaves with a goodbye or not at all.

    A server/error, an end by the server, or the device's patience (30 s) explains an end.
    """
    openings: dict[int, _Opening] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    peace = True
    for entry, talk in follow(history, *DISTURBING, Settled):
        event = entry.event
        if isinstance(event, Settled):
            peace = True
        elif disturbs(event):
            peace = False
            openings.clear()
        elif isinstance(event, ConnectionClosed):
            openings.pop(event.conn, None)
        elif isinstance(event, Frame):
            opening = openings.get(event.conn)
            if event.sender == "device" and event.type == "client/init" and peace:
                openings.setdefault(event.conn, _Opening(entry.n))
            elif opening is not None and event.sender == "server":
                _told(opening, entry, event)
                if opening.refused or (event.opcode == "close" and not opening.answered):
                    del openings[event.conn]
                elif event.opcode == "close" or opening.activated:
                    judged += 1
                    del openings[event.conn]
            elif opening is not None and event.opcode in ("text", "binary"):
                judged += event.opcode == "binary" and opening.sealed is None
                if event.opcode == "binary":
                    opening.sealed = opening.sealed or entry.n
                opening.dark = event.opcode == "binary" and event.sealed is None
                if event.type == "noise/handshake":
                    opening.answered = entry.n
                elif event.type == GOODBYE:
                    del openings[event.conn]
        elif isinstance(event, TcpFin | TcpReset) and talk is not None:
            ended = openings.pop(event.conn, None)
            if ended is None or ended.challenged is None:
                continue
            if event.sender != "device" or ended.dark:
                continue
            if event.t - talk.opened_t < PATIENCE_S * 1e9:
                told = f"connection {event.conn}: the device ended it without a word "
                told += "after the handshake" if ended.answered else "in the handshake"
                broken.append((told, (ended.init, entry.n)))
    if not broken and not judged:
        return inconclusive(_NOT_NOISE if peace else "no noise connection was opened in peace")
    return verdict_of(broken, judged, "noise openings, none ended without a word", _NOT_NOISE)


@check(
    "noise_answered",
    title="noise: the handshake and the server's hello are answered in time",
    source="Sendspin spec 1.0.0-rc1, messaging.md, Communication: steps 4 and 7",
)
def noise_answered(history: Judged) -> Outcome:
    """In peace noise/handshake gets its second message, and the sealed server/hello a client/hello.

    The second is judged where the rig's own server recorded what is sealed.
    """
    ledger = Ledger(ANSWER_WITHIN_S)
    for entry, _ in follow(history, *DISTURBING, Settled, ScenarioEnded):
        match entry.event:
            case Frame(type="noise/handshake", sealed=None, conn=conn, sender="server"):
                told = f"connection {conn}: noise/handshake got no answer within "
                ledger.owe(conn, "handshake", entry, f"{told}{ANSWER_WITHIN_S:g} s")
            case Frame(type="noise/handshake", sealed=None, conn=conn):
                ledger.pay(conn, "handshake")
            case Frame(type="server/hello", sealed=int(), conn=conn):
                told = f"connection {conn}: the sealed server/hello got no client/hello within "
                ledger.owe(conn, "hello", entry, f"{told}{ANSWER_WITHIN_S:g} s")
            case Frame(type="client/hello", sealed=int(), conn=conn):
                ledger.pay(conn, "hello")
            case Frame(type="client/goodbye" | "server/error", conn=conn):
                ledger.forgive(conn)
            case Frame(opcode="close", conn=conn):
                ledger.forgive(conn)
            case SealBroken(conn=conn):
                ledger.forgive(conn)  # the rig ended it: `noise_seals_open`'s
            case _:
                pass
        ledger.settle(entry)
    return ledger.outcome("steps of noise openings, each answered")


@check(
    "noise_seals_open",
    title="noise: what the device seals opens with its own connection's key",
    source="Sendspin spec 1.0.0-rc1, connection.md, Failure Handling; facts sendspin-noise: a "
    "stray frame of another connection cannot be read",
)
def noise_seals_open(history: Judged) -> Outcome:
    """Every sealed frame, and the handshake's second message, authenticates in its place.

    Not judged behind a fault that swallowed sealed frames: none after them can open.
    """
    broken: list[tuple[str, tuple[int, ...]]] = []
    opened = lost = 0
    for entry, _ in follow(history, SealBroken):
        match entry.event:
            case Frame(sender="device", sealed=int()):
                opened += 1
            case SealBroken(lost=True):
                lost += 1
            case SealBroken(conn=conn, frame=frame, text=text):
                told = f"connection {conn}: a sealed frame of the device: {text}"
                broken.append((told, (frame, entry.n)))
            case _:
                pass
    lacking = "no sealed frame of the device was looked into"
    if lost:
        lacking += f" ({lost} behind frames that a fault swallowed)"
    return verdict_of(broken, opened, "sealed frames, each opened", lacking)
