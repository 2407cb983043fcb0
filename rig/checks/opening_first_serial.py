"""Hello-first as the device's own log tells it: the second witness."""

from __future__ import annotations

from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, failed, inconclusive, passed
from rig.history.events import Boot, LogLine, SocketSeen

_HANDSHAKE = ("Connection handshake complete", "Connection admitted")
"""Up to v0.7.0, and in the noise generation."""


@check(
    "opening_first_serial",
    title="the device's own log tells of the same order: opened, greeted, handshake",
    source="sendspin serial log facts, connection_manager.cpp and ws_server.cpp",
)
def opening_first_serial(history: Judged) -> Outcome:
    """Each handshake the log calls complete has an open socket of its own to have happened on.

    The log prints nothing for a sent hello, so this witness can only say that a handshake came out
    of nowhere. (`Hello message send failed` is no finding: its peer may just have gone.)
    """
    unproven = handshakes = told = 0
    for entry in history.only(SocketSeen, LogLine, Boot):
        match entry.event:
            case Boot():
                unproven = 0
            case SocketSeen(op="opened"):
                told += 1
                unproven += 1
            case LogLine(component="sendspin.conn_mgr", message=str(message)):
                if message.startswith(_HANDSHAKE):
                    handshakes += 1
                    unproven -= 1
                    if told and unproven < 0:
                        return failed(
                            "the log calls more handshakes complete than sockets were opened",
                            entry.n,
                        )
            case _:
                pass
    if not told:
        return inconclusive("the log does not tell of sockets (they are D lines: a debug build)")
    if not handshakes:
        return inconclusive("the log tells of no completed handshake")
    return passed(f"{handshakes} handshakes, each on a socket of its own")
