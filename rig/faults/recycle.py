"""The same socket number handed to a waiting connection: the heart of this rig."""

from __future__ import annotations

from rig.errors import FaultError
from rig.faults.registry import Param, Proof, Target, fault
from rig.history.events import SocketSeen, UpgradeAnswered


@fault(
    "recycle",
    title="drop a connection so that a waiting one takes its socket number",
    seen="the serial log: a socket number closed and then accepted again. Where the log hides "
    "socket numbers: inferred from the waiting connection being served at once after the drop",
    params=(Param("within", "s", 6.0, 0.1, 60.0, "how long the device may take over it"),),
    needs=("socket lines on the serial log (debug build), else inferred",),
)
async def recycle(target: Target, **params: float) -> Proof | None:
    """`target.act` drops; `target.connection` is the one that waits (accepted by TCP already).

    Without a connection `target.act` itself makes the new one after the drop.
    """
    if target.act is None:
        raise FaultError("recycle needs a drop to recycle after")
    waiting = target.connection.conn if target.connection else None
    closed: dict[int, int] = {}
    with (
        target.history.watch(lambda event: isinstance(event, SocketSeen)) as sockets,
        target.history.watch(
            lambda event: isinstance(event, UpgradeAnswered) and waiting in (None, event.conn)
        ) as upgrades,
    ):
        await target.act()
        if not target.tells_sockets:
            seen = await upgrades.next(UpgradeAnswered, timeout=params["within"])
            if seen is None:
                return None
            return Proof(
                "inferred, the log hides socket numbers: the next connection was served right "
                "after the drop, and the lowest free number is taken",
                (seen[0],),
            )
        while (told := await sockets.next(SocketSeen, timeout=params["within"])) is not None:
            n, event = told
            if event.fd is None:
                continue
            if event.op == "closed":
                closed[event.fd] = n
            elif event.op == "opened" and event.fd in closed:
                return Proof(f"socket {event.fd} accepted again", (closed[event.fd], n))
    return None
