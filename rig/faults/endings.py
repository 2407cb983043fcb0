"""Faults that end a connection: in order, with a RST, in the middle of a frame."""

from __future__ import annotations

from rig.faults.registry import Param, Proof, Target, fault
from rig.history.events import ConnectionClosed, LinkEffect, TcpFin, TcpReset

PROOF_S = 2.0
"""How long a fault's proof is waited for."""
ANSWER_S = 3.5
"""How long the answer to a Close is waited for: longer than a device may take (3 s)."""


@fault(
    "rst",
    title="drop the connection with a RST",
    seen="the kernel's socket was in a state from which a reset puts a RST on the wire",
    at_link=True,
)
async def rst(target: Target) -> Proof | None:
    """SO_LINGER 0 and close: the device's next receive fails with ECONNRESET."""
    conn = target.aim.conn
    with target.history.watch(lambda event: getattr(event, "conn", None) == conn) as watch:
        target.aim.drop()
        seen = await watch.next(
            TcpReset, timeout=PROOF_S, where=lambda event: event.sender == "server"
        )
    return Proof("a RST went out", (seen[0],)) if seen else None


@fault(
    "fin",
    title="end the connection in order, with a FIN",
    seen="the FIN was sent and the device's TCP acknowledged it",
    at_link=True,
)
async def fin(target: Target) -> Proof | None:
    """Shut the server's half down; the device's half stays open until it ends it."""
    conn = target.aim.conn
    with target.history.watch(lambda event: getattr(event, "conn", None) == conn) as watch:
        target.aim.fin()
        seen = await watch.next(
            TcpFin, timeout=PROOF_S, where=lambda event: event.sender == "server"
        )
    return Proof("a FIN went out", (seen[0],)) if seen else None


@fault(
    "cut",
    title="let part of a frame through, then a RST",
    seen="the link counted the bytes that it let through, and a RST went out behind them",
    params=(Param("keep", "bytes", 3, 1, 64, "bytes of the frame that still go through"),),
    at_link=True,
)
async def cut(target: Target, **params: float) -> Proof | None:
    """The device has the head of a frame and waits for the rest, then the connection is reset."""
    conn = target.aim.conn
    with target.history.watch(lambda event: getattr(event, "conn", None) == conn) as watch:
        target.aim.line.cut(int(params["keep"]), "rst")
        target.aim.say()
        part = await watch.next(LinkEffect, timeout=PROOF_S, where=lambda e: e.fault == "cut")
        over = await watch.next(
            TcpReset, timeout=PROOF_S, where=lambda event: event.sender == "server"
        )
    if part is None or over is None:
        return None
    return Proof(f"{part[1].value:g} bytes of a frame, then a RST", (part[0], over[0]))


@fault(
    "close",
    title="end the connection as WebSocket says: Close, then FIN",
    seen="the device ended its half, or both halves are over",
)
async def close(target: Target) -> Proof | None:
    """Send Close 1000, wait for the device to answer and end, end."""
    connection = target.aim
    with target.history.watch(lambda event: getattr(event, "conn", None) == connection.conn) as w:
        connection.close_frame(1000)
        await connection.expect_fin(ANSWER_S)
        connection.fin()
        over = await w.next(ConnectionClosed, timeout=PROOF_S)
    if over is None:
        connection.close()
        return None
    return Proof("both halves ended", (over[0],))
