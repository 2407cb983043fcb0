"""The access point without power, as when somebody pulls its plug."""

from __future__ import annotations

import contextlib

from rig.air.airspace import resolved
from rig.errors import FaultError
from rig.faults.air_radio import left
from rig.faults.registry import Param, Proof, Target, fault
from rig.history.events import Event, LogLine, Packet

WITHIN = Param("within", "s", 15.0, 0.1, 120.0, "how long its proof is waited for")
"""ESP-IDF's WiFi gives a network up after 6 s without a beacon (`esp_wifi_set_inactive_time`)."""
UNANSWERED = 2
"""Retransmissions to the board in a row, with no word of it between them."""


@fault(
    "ap-power-off",
    title="switch the access point's power off",
    seen="the board's log says `wifi:state: run -> init`, or the capture shows retransmissions to "
    "it and no word of it between them",
    params=(WITHIN,),
    needs=("`power` in the network table of the bench",),
    aimed=False,
)
async def ap_power_off(target: Target, **params: float) -> Proof | None:
    """Off until it is healed. Raises `FaultError` where the bench does not say how."""
    if target.air is None:
        raise FaultError("ap-power-off: there is no air around this board")
    place: str | None = None
    with contextlib.suppress(FaultError):
        if target.board.address is not None:
            place = await resolved(target.board.name, target.board.address.host)
        await target.air.open()  # without the rights to capture there is still the board's log
    with target.history.watch(lambda event: isinstance(event, LogLine | Packet)) as watch:
        await target.air.power_off("ap-power-off")
        if target.act is not None:
            await target.act()
        if target.connection is not None and not target.connection.closed:
            target.connection.ping(b"power")  # something to be left unanswered
        unanswered: list[int] = []

        def proves(event: Event) -> bool:
            if isinstance(event, LogLine):
                return left(event.text)
            assert isinstance(event, Packet)
            if place is None:
                return False  # its word could not be told from this host's
            if event.source.startswith(f"{place}:"):
                unanswered.clear()
            elif event.retransmission:
                unanswered.append(event.seq)
            return len(unanswered) >= UNANSWERED

        seen = await watch.next(Event, timeout=params["within"], where=proves)
    if seen is None:
        return None
    if isinstance(seen[1], LogLine):
        return Proof(f"the device says: {seen[1].text}", (seen[0],))
    return Proof(f"{UNANSWERED} retransmissions unanswered", (seen[0],))
