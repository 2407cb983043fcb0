"""The HTTP server's work mailbox full: what is queued then is gone, and nobody is told."""

from __future__ import annotations

from rig.errors import FaultError
from rig.faults.registry import Param, Proof, Target, fault
from rig.history import now_ns
from rig.history.events import Frame, Talked


@fault(
    "queue-full",
    title="fill the work mailbox of the device's server while its task is stalled",
    seen="fewer client/state arrived afterwards than the device was asked to queue",
    params=(
        Param("states", "client/state", 8, 7, 64, "how many it is asked to queue"),
        Param("within", "s", 1.0, 0.1, 60.0, "how long the last state may take to arrive"),
    ),
    needs=("talk",),
)
async def queue_full(target: Target, **params: float) -> Proof | None:
    """`target.connection` is stalled already; `target.act` is what falls due meanwhile.

    ESP-IDF: 6 datagrams (CONFIG_LWIP_UDP_RECVMBOX_SIZE); `httpd_queue_work` says ESP_OK all the
    same. The stall is healed here.
    """
    asked = int(params["states"])
    stalled = target.aim
    with target.history.watch(
        lambda event: (
            isinstance(event, Frame)
            and event.conn == stalled.conn
            and event.sender == "device"
            and event.type == "client/state"
        )
    ) as states:
        if not await target.board.talk(asked):
            raise FaultError(
                f"{target.board.name} cannot be made to talk by itself",
                hint="say in bench.toml how: talk = 'bytes for the console with {n}'",
            )
        target.history.append(Talked(t=now_ns(), board=target.board.name, count=asked))
        if target.act is not None:
            await target.act()
        stalled.line.unstall()
        arrived: list[int] = []
        while (seen := await states.next(Frame, timeout=params["within"])) is not None:
            arrived.append(seen[0])
    if not arrived or len(arrived) >= asked:
        return None
    return Proof(f"{len(arrived)} of {asked} states arrived", tuple(arrived[:8]))
