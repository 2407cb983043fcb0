"""`patience`: peers that prove nothing, until the device sends them away."""

from __future__ import annotations

import asyncio

from rig.scenarios.registry import REQUIRED_CHECKS, STANDARD_CHECKS, scenario
from rig.scenarios.stage import Stage

UPGRADE_S = 8.5
"""Longer than a connection without an upgrade may stay (5 s, and some)."""
PROOF_S = 33.5
"""Longer than one that never lets the device know its server may stay (30 s, and some)."""


@scenario(
    "patience",
    title="a peer that never upgrades, and one that never greets: both are to be sent away",
    cycles=1,
    checks=STANDARD_CHECKS,
    required=REQUIRED_CHECKS,
    by_default=False,
)
async def patience(stage: Stage) -> None:
    """Half a minute of nothing. A device that ends both at its time is not waited for longer."""
    silent = await stage.connect(upgrade=False)
    unproven = await stage.hello()
    await asyncio.gather(silent.wait_closed(UPGRADE_S), unproven.wait_closed(PROOF_S))
    await stage.settle()
    await stage.probe()
    await stage.settle()
