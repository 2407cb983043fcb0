"""The noise generation's opening, step by step, as strict as hello-first.

Judges what crosses in the clear and whether a frame is sealed; where the plaintext of the rig's own
session is recorded as text frames, its messages are judged too.
"""

from __future__ import annotations

from dataclasses import dataclass

from rig.checks.behaviour import says
from rig.checks.connections import GOODBYE, follow, words
from rig.checks.owed import DISTURBING, verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, inconclusive
from rig.history.events import ConnectionClosed, Entry, Frame, Settled, TcpFin, TcpReset
from rig.protocol.names import CLEAR_IN_NOISE

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


def _heard(opening: _Opening, entry: Entry, frame: Frame) -> str | None:
    """Account for a device message; what is wrong with it, if anything."""
    if frame.opcode == "binary":
        if opening.answered is None:
            return "a sealed frame before its noise/handshake"
        return None
    match frame.type:
        case "client/init":
            return None  # a second one is `opened_once`'s
        case "noise/handshake":
            if opening.challenged is None:
                return "noise/handshake before the server's"
            if opening.answered is not None and not opening.activated:
                return "noise/handshake again before server/activate"
            opening.answered = opening.answered or entry.n
        case kind if kind == GOODBYE and opening.answered is not None:
            pass
        case "client/hello" if opening.answered is not None and opening.greeted is None:
            opening.greeted = entry.n
        case kind if opening.activated and kind not in CLEAR_IN_NOISE:
            pass
        case _ if opening.answered is not None:
            return "only client/hello may come before server/activate"
        case _:
            return "only noise/handshake may follow client/init"
    return None


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
    for entry, _ in follow(history):
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
            if event.type == "client/init":
                openings[event.conn] = _Opening(entry.n)
        elif says(event):
            judged += event.type == "noise/handshake"
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
        elif isinstance(event, DISTURBING):
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
                if opening.refused or event.opcode == "close":
                    del openings[event.conn]
                elif opening.activated:
                    judged += 1
                    del openings[event.conn]
            elif opening is not None and event.opcode == "binary" and opening.answered is not None:
                # sealed: it may be a goodbye as well as a hello, and more cannot be told
                judged += 1
                del openings[event.conn]
            elif opening is not None and event.type == "noise/handshake":
                opening.answered = entry.n
            elif opening is not None and event.type == GOODBYE:
                del openings[event.conn]
        elif isinstance(event, TcpFin | TcpReset) and talk is not None:
            ended = openings.pop(event.conn, None)
            if ended is None or event.sender != "device" or ended.challenged is None:
                continue
            if event.t - talk.opened_t < PATIENCE_S * 1e9:
                told = f"connection {event.conn}: the device ended it without a word "
                told += "after the handshake" if ended.answered else "in the handshake"
                broken.append((told, (ended.init, entry.n)))
    if not broken and not judged:
        return inconclusive(_NOT_NOISE if peace else "no noise connection was opened in peace")
    return verdict_of(broken, judged, "noise openings, none ended without a word", _NOT_NOISE)
