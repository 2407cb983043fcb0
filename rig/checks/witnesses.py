"""Two witnesses: what the device's log says of its connections, and what crossed the wire."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rig.checks.behaviour import greets, reason_of
from rig.checks.connections import follow
from rig.checks.owed import verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, inconclusive
from rig.history.events import (
    Boot,
    ConsoleGap,
    CrashBegan,
    Entry,
    Frame,
    LogLine,
    Settled,
    SocketSeen,
    UpgradeAnswered,
    UpgradeAsked,
)
from rig.protocol.payload import payload_of

_HANDSHAKE = re.compile(
    r"Connection handshake complete: server_id=(?P<id>.{0,200}), "
    r"connection_reason=(?P<reason>[a-z]{1,20})$"
    r"|Connection admitted: server_id=(?P<key>.{0,200})$"
)
"""Up to v0.7.0, and in the noise generation."""


@dataclass(slots=True)
class _Accounts:
    """Both accounts since the stretch began, or since a gap in it."""

    asked: int = 0
    """Upgrades asked for on the wire."""
    upgraded: list[int] = field(default_factory=list)
    told_opened: int = 0
    told_upgraded: int = 0
    told: dict[str, int] = field(default_factory=dict)
    """Servers the log calls shaken hands with."""
    served: dict[str, int] = field(default_factory=dict)
    """Servers that were told the state on the wire."""
    whole: bool = True
    """Whether neither account has a gap (lost log bytes, a boot)."""


@check(
    "witnesses_agree",
    title="the device's log and the wire tell the same of its connections",
    source="sendspin serial log facts: 'Connection handshake complete' (I; v0.9.x: 'Connection "
    "admitted'), 'New client connection on socket' (D), against the frames of the same stretch",
)
def witnesses_agree(history: Judged) -> Outcome:
    """Joined by server id, and by number at each `Settled`, when both accounts are complete.

    A line that the log level hides is not guessed: what the log does not tell of at all in this
    stretch is not compared. A server that is not the rig's, with sockets of its own, makes the
    comparison inconclusive.
    """
    if not history.has_console:
        return inconclusive("only one witness: nothing was heard from the serial console")
    greetings: dict[str, str | None] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    strangers: list[tuple[str, int]] = []
    sockets, handshakes = _levels(history)
    accounts = _Accounts()
    judged = 0
    extra = (LogLine, SocketSeen, Boot, CrashBegan, ConsoleGap, Settled, UpgradeAsked)
    for entry, talk in follow(history, *extra):
        match entry.event:
            case Boot() | CrashBegan() | ConsoleGap():
                accounts.whole = False
            case UpgradeAsked():
                accounts.asked += 1
            case UpgradeAnswered(status=101):
                accounts.upgraded.append(entry.n)
            case SocketSeen(op="opened"):
                accounts.told_opened += 1
            case SocketSeen(op="upgraded"):
                accounts.told_upgraded += 1
            case Frame(sender="server", type="server/init") if talk is not None:
                greetings.setdefault(talk.server_id, None)
            case Frame(sender="server") as frame if greets(frame) and talk is not None:
                server = payload_of(frame).get("server_id", talk.server_id)
                if isinstance(server, str):
                    greetings[server] = reason_of(frame)
            case Frame(sender="device", type="client/state") if talk is not None:
                if talk.server_id in greetings:
                    accounts.served.setdefault(talk.server_id, entry.n)
            case LogLine(component="sendspin.conn_mgr", message=str(text)):
                if (found := _HANDSHAKE.match(text)) is None:
                    continue
                server, reason = found["id"] or found["key"], found["reason"]
                accounts.told[server] = entry.n
                if server not in greetings:
                    strangers.append((server, entry.n))
                    continue
                judged += 1
                if reason is not None and reason != greetings[server]:
                    told = f"the log gives {reason!r} as the reason of {server!r}, "
                    told += f"the wire {greetings[server]!r:.40}"
                    broken.append((told, (entry.n,)))
            case Settled():
                if accounts.whole:
                    judged += 1
                    broken += _compare(accounts, entry, sockets=sockets, handshakes=handshakes)
                if not accounts.whole:
                    accounts = _Accounts()
                accounts.told.clear()
                accounts.served.clear()
            case _:
                pass
    if strangers and not broken:
        server, n = strangers[0]
        told = f"the log tells of a handshake with {server!r:.80}, whom the rig never greeted"
        return inconclusive(f"{told}: is another server on the network?", n)
    if not (sockets or handshakes):
        return inconclusive("the log tells of no socket (D lines) and of no handshake (I lines)")
    hidden = "" if sockets else "; sockets are D lines, which this build hides"
    return verdict_of(
        broken, judged, f"accounts, the same on both{hidden}", "the two never met at rest"
    )


def _levels(history: Judged) -> tuple[bool, bool]:
    """Whether the log tells of sockets, and of handshakes, at all."""
    sockets = any(
        isinstance(e.event, SocketSeen) and e.event.op == "opened" for e in history.only(SocketSeen)
    )
    handshakes = any(
        isinstance(e.event, LogLine) and _HANDSHAKE.match(e.event.message or "") is not None
        for e in history.only(LogLine)
    )
    return sockets, handshakes


def _compare(
    accounts: _Accounts, at: Entry, *, sockets: bool, handshakes: bool
) -> list[tuple[str, tuple[int, ...]]]:
    """Where the two accounts differ. (A socket nobody upgraded may be
    anyone's: the rig itself looks whether the port is open.)"""
    differ: list[tuple[str, tuple[int, ...]]] = []
    if sockets and accounts.told_opened < len(accounts.upgraded):
        told = f"the wire saw {len(accounts.upgraded)} upgrades answered, the log tells of "
        told += f"{accounts.told_opened} sockets opened"
        differ.append((told, (accounts.upgraded[-1], at.n)))
    if accounts.told_upgraded > accounts.asked and not _others(accounts):
        told = f"the log tells of {accounts.told_upgraded} upgrades, the wire of "
        differ.append((f"{told}{accounts.asked} asked for", (at.n,)))
    if handshakes:
        for server, n in accounts.served.items():
            if server not in accounts.told:
                told = f"{server!r} was told the state on the wire, the log tells of no handshake"
                differ.append((told, (n, at.n)))
    return differ


def _others(accounts: _Accounts) -> bool:
    """Whether the log tells of a server that the wire did not serve."""
    return any(server not in accounts.served for server in accounts.told)
