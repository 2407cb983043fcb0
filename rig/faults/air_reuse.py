"""The same four-tuple again at once: the device's TCP meets its own old connection."""

from __future__ import annotations

from rig.air.protocol import KillSocket
from rig.errors import FaultError
from rig.faults.air_fault import NEEDS
from rig.faults.registry import Param, Proof, Target, fault
from rig.history.events import Packet

DIAL_S = 10.0
_HOLD_S = 30.0
_CLOSED_S = 2.0
"""How long this host may take to tell its own process that a socket was destroyed."""


@fault(
    "four-tuple-reuse",
    title="the server dies without a word and dials again from the same port at once",
    seen="the capture shows a SYN on the four-tuple of a connection that never ended",
    params=(Param("within", "s", 3.0, 0.1, 60.0, "how long its proof is waited for"),),
    needs=NEEDS,
)
async def four_tuple_reuse(target: Target, **params: float) -> Proof | None:
    """The new connection is the server's newest. Raises `ServerError` when the device refuses it.

    The device answers the SYN for its old connection, this host's TCP answers that with a RST
    (RFC 9293, 3.10.7.3), and the next SYN finds a free place.
    """
    if target.air is None:
        raise FaultError("four-tuple-reuse: there is no air around this board")
    flow = target.air.flow(target.aim.conn)
    kill = KillSocket(board=target.board.name, flow=flow, seconds=_HOLD_S)
    effect = await target.air.begin("four-tuple-reuse", kill)
    await target.aim.wait_closed(_CLOSED_S)  # as long as the old socket is open its port is taken
    await target.air.heal(effect)
    port = f":{flow.server_port}"
    with target.history.watch(lambda event: isinstance(event, Packet)) as packets:
        await target.server.connect(local_port=flow.server_port, timeout=DIAL_S)
        syn = await packets.next(
            Packet,
            timeout=params["within"],
            where=lambda packet: packet.flags.strip("EC") == "S" and packet.source.endswith(port),
        )
    if syn is None:
        return None
    return Proof(f"SYN from port {flow.server_port} again, sequence number {syn[1].seq}", (syn[0],))
