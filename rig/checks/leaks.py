"""No connection leaked: when all peers are gone, the device holds no socket for them."""

from __future__ import annotations

from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, failed, inconclusive, passed
from rig.history.events import (
    Boot,
    ConnectionClosed,
    ConnectionOpened,
    ConsoleGap,
    CrashBegan,
    FaultAsked,
    Settled,
    SocketSeen,
)

UNTOLD = frozenset(
    {"rst-forged", "socket-killed", "silence-to-device", "silence-both-ways", "link-down"}
)
"""Faults after which a device may not have been told that its peer is gone: it goes on believing
until it sends something, or for ever."""


@check(
    "no_connection_leaked",
    title="no connection is left open on the device when its peer is gone",
    source="sendspin serial log: 'New client connection on socket', 'Client closed connection on "
    "socket' (D lines)",
)
def no_connection_leaked(history: Judged) -> Outcome:
    """At each `Settled`, every socket that the log told to be opened was told to be closed.

    Not those that were open when a fault ended the server's side alone (`UNTOLD`).
    """
    open_sockets: dict[int, int] = {}
    live = 0
    told = settled = 0
    kinds = (
        *(SocketSeen, Settled, Boot, CrashBegan, ConsoleGap),
        *(ConnectionOpened, ConnectionClosed, FaultAsked),
    )
    for entry in history.only(*kinds):
        match entry.event:
            # after a gap the log may have told of closings unheard; a crash closes without a word
            case Boot() | CrashBegan() | ConsoleGap():
                open_sockets.clear()
            case SocketSeen(op="opened", fd=int(fd)):
                open_sockets[fd] = entry.n
                told += 1
            case SocketSeen(op="closed", fd=int(fd)):
                open_sockets.pop(fd, None)
            case FaultAsked(fault=fault) if fault in UNTOLD:
                open_sockets.clear()
            case ConnectionOpened():
                live += 1
            case ConnectionClosed():
                live -= 1
            case Settled(after_s=after) if live <= 0:
                settled += 1
                if open_sockets:
                    fd, n = next(iter(open_sockets.items()))
                    return failed(
                        f"socket {fd} is still open {after:g} s after its peer went away",
                        n,
                        entry.n,
                        findings=len(open_sockets),
                    )
            case _:
                pass
    if not told:
        return inconclusive("the log does not tell of sockets (they are D lines: a debug build)")
    if not settled:
        return inconclusive("the scenario did not end with all connections gone")
    return passed(f"{told} sockets opened, none left")
