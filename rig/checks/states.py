"""What the device tells of itself: the state after the greeting, and after a command."""

from __future__ import annotations

from typing import Any

from rig.checks.behaviour import greets
from rig.checks.connections import GOODBYE, OPENINGS, Conversation, follow, words
from rig.checks.owed import DISTURBING, Ledger, verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, inconclusive
from rig.history.events import ConnectionClosed, Entry, Frame, Settled
from rig.protocol.payload import payload_of

SHOWN_WITHIN_S = 3.0
"""A command shows in a client/state within this, when nothing disturbs the device."""

MOST_SEEN = 4
"""So many greeted connections show what is the rule of a device, and what a race."""

_COMMANDS = {"volume": "volume", "mute": "muted"}
"""A player command's field, and the field of the state that shows it."""


def _let_in(talk: Conversation) -> int | None:
    """Number of the message after which the state is due."""
    return talk.activated if talk.generation == "noise" else talk.server_hello


def _commands(hello: dict[str, Any], player: dict[str, Any]) -> list[str]:
    """The player commands a device takes: the hello says so (legacy), or the state (noise)."""
    support = hello.get("player@v1_support")
    found = support.get("supported_commands") if isinstance(support, dict) else None
    found = player.get("supported_commands", found)
    return [str(each) for each in found] if isinstance(found, list) else []


def _lacking(state: dict[str, Any], hello: dict[str, Any], since: Entry) -> str | None:
    """What a first state lacks of what its hello promised, and (noise) `since` asks for."""
    player = state.get("player")
    body = player if isinstance(player, dict) else {}
    commands = _commands(hello, body)
    asked = since.event
    if isinstance(asked, Frame) and asked.sealed is not None:
        if not isinstance(state.get("available"), bool):
            return "available"
        roles = payload_of(asked).get("active_roles")
        if not body and isinstance(roles, list) and "player@v1" in roles:
            return "the player object"
    elif commands and not body:
        return "the player object"
    for command, shown in (("volume", "volume"), ("mute", "muted")):
        if command in commands and shown not in body:
            return f"player.{shown}"
    return None


@check(
    "state_first",
    title="the first message after the server's hello is a complete client/state",
    source="invariant 5: Sendspin spec, client/state (a goodbye is allowed: the hand-off's loser)",
)
def state_first(history: Judged) -> Outcome:
    """After a valid server/hello comes client/state, with volume and mute if the device takes them.

    In noise after the first server/activate that gives a role, and with `available`.

    Before v0.7.0 a client/time may overtake it: where the hello is answered within the very turn of
    the main loop that sent it, the time burst finds the handshake complete, while the note on which
    the state is sent waits for the next turn. So one that the state follows on the heels of counts
    against the device only where it is the rule.
    """
    waiting: dict[int, Entry] = {}
    overtaken: dict[int, tuple[str, tuple[int, ...]]] = {}
    raced: list[tuple[str, tuple[int, ...]]] = []
    hellos: dict[int, dict[str, Any]] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history):
        event = entry.event
        if isinstance(event, ConnectionClosed):
            waiting.pop(event.conn, None)
            hellos.pop(event.conn, None)
            overtaken.pop(event.conn, None)
        if talk is None or not isinstance(event, Frame):
            continue
        if event.sender == "device" and event.type == "client/hello":
            hellos.setdefault(event.conn, payload_of(event))
        elif greets(event) and event.conn in hellos and entry.n == _let_in(talk):
            if event.sealed is None or payload_of(event).get("active_roles"):
                waiting[event.conn] = entry
        elif talk.says(event) and event.conn in waiting and event.type not in OPENINGS:
            since = waiting.pop(event.conn)
            before = overtaken.pop(event.conn, None)
            if event.type == GOODBYE:
                continue
            step = "hello" if event.sealed is None else "activate"
            told = f"connection {event.conn}: {words(entry)} first after the server's {step}"
            if event.type == "client/time" and before is None:
                overtaken[event.conn] = (told, (since.n, entry.n))
                waiting[event.conn] = since
                continue
            if before is not None and event.type == "client/state":
                raced.append(before)
            judged += 1
            if event.type != "client/state":
                broken.append(before or (told, (since.n, entry.n)))
            elif lacks := _lacking(payload_of(event), hellos[event.conn], since):
                told = f"connection {event.conn}: the first client/state lacks {lacks}"
                broken.append((told, (since.n, entry.n)))
    if not broken and len(raced) * 2 > judged:
        if judged < MOST_SEEN:
            message, evidence = raced[0]
            return inconclusive(f"{message}, its state next; too few to compare it with", *evidence)
        broken = raced
    return verdict_of(
        broken, judged, "connections, each told the state first", "no state after a server's hello"
    )


@check(
    "commands_shown",
    title="a server's command shows in a client/state",
    source="invariant 18: Sendspin spec, server/command",
)
def commands_shown(history: Judged) -> Outcome:
    """The latest volume and mute a server commanded on the connection in use are told back.

    Of the commands that the device says it takes: in its hello (legacy) or its state (noise).
    """
    ledger = Ledger(SHOWN_WITHIN_S)
    wanted: dict[tuple[int, str], object] = {}
    shown: dict[int, dict[str, Any]] = {}
    hellos: dict[int, dict[str, Any]] = {}
    for entry, talk in follow(history, *DISTURBING, Settled):
        event = entry.event
        if isinstance(event, ConnectionClosed):
            shown.pop(event.conn, None)
            hellos.pop(event.conn, None)
        if talk is not None and isinstance(event, Frame):
            conn = event.conn
            player = payload_of(event).get("player")
            body = player if isinstance(player, dict) else {}
            if event.sender == "device" and event.type == "client/state":
                shown.setdefault(conn, {}).update(body)
                for field in _COMMANDS.values():
                    if body.get(field, ...) == wanted.get((conn, field)):
                        ledger.pay(conn, field)
            elif event.sender == "device" and event.type == "client/hello":
                hellos.setdefault(conn, payload_of(event))
            elif event.sender == "device" and event.type == GOODBYE:
                ledger.forgive(conn)
            elif event.sender == "server" and event.type == "server/command" and conn in shown:
                command = body.get("command")
                name = _COMMANDS.get(command) if isinstance(command, str) else None
                taken = _commands(hellos.get(conn, {}), shown[conn])
                if name is not None and command in taken and not talk.goodbye:
                    value = body.get(command)
                    wanted[conn, name] = value
                    if shown[conn].get(name, ...) != value:
                        told = f"connection {conn}: {command} {value!r:.40} was never shown"
                        ledger.owe(conn, name, entry, f"{told} in a client/state")
                    else:
                        ledger.pay(conn, name)
        ledger.settle(entry)
    return ledger.outcome("commands, each shown")
