"""The access point of the bench, for the air: the same for `rig run`, `rig fault` and pytest."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rig.air.client import Radio
from rig.air.healing import Report
from rig.air.leftovers import POWERED_OFF, folder, leftovers
from rig.boards.ap_power import Supply, on_again
from rig.boards.bench import Bench
from rig.errors import RigError


def radio_of(bench: Bench) -> Radio | None:
    """What of the radio a bench's `[network]` table names; None: it has no such table."""
    network = bench.network
    if network is None:
        return None
    path = None if network.hostapd is None else str(network.hostapd)
    supply = Supply(network.power, folder(), POWERED_OFF) if network.power else None
    return Radio(path, network.hotspot, network.monitors, network.bssid, supply)


def put_on_again(where: Path) -> Report:
    """Put access points on that killed runs left without power; what came of it, in words."""
    healed, left = [], []
    for note in leftovers(where, POWERED_OFF):
        try:
            asyncio.run(on_again(note))
        except (RigError, OSError) as error:
            left.append(f"the access point's power: {error}")
        else:
            healed.append("the access point's power was off")
    return Report(healed, left)
