"""The access point of the bench, for the air: the same for `rig run`, `rig fault` and pytest."""

from __future__ import annotations

from rig.air.client import Radio
from rig.boards.bench import Bench


def radio_of(bench: Bench) -> Radio | None:
    """What of the radio a bench's `[network]` table names; None: it has no such table."""
    network = bench.network
    if network is None:
        return None
    path = None if network.hostapd is None else str(network.hostapd)
    return Radio(path, network.hotspot, network.monitors, network.bssid)
