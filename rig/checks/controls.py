"""What a device's controller asks of the server, and the state that comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rig.checks.connections import GOODBYE, follow
from rig.checks.owed import DISTURBING, Ledger
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome
from rig.history.events import ConnectionClosed, Entry, Frame, Settled
from rig.protocol.payload import payload_of

HEEDED_WITHIN_S = 5.0
"""The state that a controller asked for is told back within this, when nothing disturbs."""

OFFERED_SINCE_NS = 1_000_000_000
"""A command may cross a change of what is offered: only what was offered so long ago counts."""

ROUNDING = 2
"""How far a group's volume may be from the one asked for."""
_NOTHING = object()
_FIELDS = {"volume": ("volume", "volume"), "mute": ("muted", "mute")}
"""By command: the field of server/state's controller that shows it, and its own with the value."""
_STATES = {
    "repeat_off": ("repeat", "off"),
    "repeat_one": ("repeat", "one"),
    "repeat_all": ("repeat", "all"),
    "shuffle": ("shuffle", True),
    "unshuffle": ("shuffle", False),
    "play": ("playback_state", "playing"),
    "pause": ("playback_state", "stopped"),
    "stop": ("playback_state", "stopped"),
    "next": ("metadata", ...),
    "previous": ("metadata", ...),
}
"""By command: what shows it, as `_shown` names it, and its value (`...`: any)."""


def _wanted(command: str, asked: Mapping[str, Any]) -> tuple[str, object] | None:
    """What is to be seen after a command: a name of `_shown`, and its value."""
    if command in _FIELDS:
        shown, field = _FIELDS[command]
        return shown, asked.get(field)
    return _STATES.get(command)


def _shown(frame: Frame) -> dict[str, object]:
    """What a message of the server shows of it."""
    payload = payload_of(frame)
    if frame.type == "group/update":
        state = payload.get("playback_state")
        return {"playback_state": "stopped" if state == "paused" else state}
    if frame.type != "server/state":
        return {}
    controller = payload.get("controller")
    shown = dict(controller) if isinstance(controller, dict) else {}
    return shown | ({"metadata": payload["metadata"]} if payload.get("metadata") else {})


def _is(field: str, value: object, wanted: object) -> bool:
    """Whether `value` is the one wanted; a group's volume is the mean of whole numbers."""
    if field == "volume" and isinstance(value, int) and isinstance(wanted, int):
        return abs(value - wanted) <= ROUNDING
    return wanted is ... or value == wanted


@check(
    "controls_heeded",
    title="a device's controller asks for what the server offers, and is told what came of it",
    source="Sendspin spec, client/command and server/state (controller), group/update. The first "
    "half judges the device, the second the server (and the players, whose volume a group's is)",
)
def controls_heeded(history: Judged) -> Outcome:
    """Each command is among the latest `supported_commands`; its state comes back in time."""
    ledger = Ledger(HEEDED_WITHIN_S)
    offered: dict[int, list[tuple[int, list[str]]]] = {}
    shown: dict[int, dict[str, object]] = {}
    wanted: dict[tuple[int, str], object] = {}
    odd: list[tuple[str, tuple[int, ...]]] = []
    for entry, talk in follow(history, *DISTURBING, Settled):
        event = entry.event
        if isinstance(event, ConnectionClosed):
            offered.pop(event.conn, None)
            shown.pop(event.conn, None)
        elif isinstance(event, Frame) and talk is not None:
            if event.type == GOODBYE:
                ledger.forgive(event.conn)
            elif event.sender == "server":
                _told(event, offered, shown, wanted, ledger)
            elif event.type == "client/command" and event.conn in offered:
                _asked(entry, event, offered[event.conn], shown, wanted, ledger, odd)
        ledger.settle(entry)
    ledger.broken[:0] = odd
    return ledger.outcome("commands of a controller, each with its state")


def _told(
    frame: Frame,
    offered: dict[int, list[tuple[int, list[str]]]],
    shown: dict[int, dict[str, object]],
    wanted: dict[tuple[int, str], object],
    ledger: Ledger,
) -> None:
    told = _shown(frame)
    commands = told.get("supported_commands")
    if isinstance(commands, list):
        past = offered.setdefault(frame.conn, [])
        past.append((frame.t, [str(each) for each in commands]))
        del past[:-8]
    shown.setdefault(frame.conn, {}).update(told)
    for field, value in told.items():
        if _is(field, value, wanted.get((frame.conn, field), _NOTHING)):
            ledger.pay(frame.conn, field)


def _asked(
    entry: Entry,
    frame: Frame,
    offers: list[tuple[int, list[str]]],
    shown: dict[int, dict[str, object]],
    wanted: dict[tuple[int, str], object],
    ledger: Ledger,
    odd: list[tuple[str, tuple[int, ...]]],
) -> None:
    asked = payload_of(frame).get("controller")
    command = asked.get("command") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or not isinstance(command, str):
        return
    lately = [given for at, given in offers if frame.t - at < OFFERED_SINCE_NS]
    before = [given for at, given in offers if frame.t - at >= OFFERED_SINCE_NS][-1:]
    if not any(command in given for given in (*before, *lately)):
        if before:
            told = f"connection {frame.conn}: asked for {command!r:.40}, which was not offered"
            odd.append((told, (entry.n,)))
        return
    want = _wanted(command, asked)
    if want is None:
        return
    field, value = want
    wanted[frame.conn, field] = value
    words = f"connection {frame.conn}: asked for {command!r:.40}, and {field} {value!r:.40} was "
    if value is ...:
        words = f"connection {frame.conn}: asked for {command!r:.40}, and no {field} was "
    ledger.owe(frame.conn, field, entry, f"{words}never told")
    if value is not ... and _is(field, shown.get(frame.conn, {}).get(field, _NOTHING), value):
        ledger.pay(frame.conn, field)
