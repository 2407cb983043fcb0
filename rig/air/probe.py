"""What of the air works on this machine: tried in a network namespace of its own, then gone."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from rig.air.bounds import Way
from rig.air.disturb import Disturber
from rig.air.journal import Qdisc
from rig.air.netfilter import Tables
from rig.air.protocol import Disturb, Drop, Refuse
from rig.air.rules import Plan, drop, queue, refuse
from rig.air.traffic import Shaper
from rig.errors import RigError

WAY = Way("probe", "127.0.0.1", "127.0.0.1", "lo", 1)


async def _rules(plan: Plan) -> None:
    async with Tables() as tables:
        for family, chains in plan:
            await tables.add(family, "srig_probe_1", chains)


async def _queue() -> None:
    held = Disturber(Disturb(board="probe", seconds=1))
    try:
        for native in (True, False):
            try:
                return await _rules(queue(WAY, "both", None, held.queue, native=native))
            except RigError:
                if not native:
                    raise
    finally:
        held.close()


async def _rate() -> None:
    shaper = Shaper()
    try:
        await shaper.limit(WAY, Qdisc("lo", 1, 0x5200), 64)
    finally:
        shaper.close()


async def _capture() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


async def probe() -> dict[str, str]:
    """Each ability by name: an empty text, or why it is not there."""
    found: dict[str, str] = {}
    abilities = {
        "silence and loss": _rules(drop(WAY, Drop(board="probe", seconds=1))),
        "refusals": _rules(refuse(WAY, Refuse(board="probe", seconds=1))),
        "delay and damage": _queue(),
        "rate limits": _rate(),
        "capture": _capture(),
    }
    for name, trial in abilities.items():
        try:
            await trial
            found[name] = ""
        except RigError as error:
            found[name] = error.message
        except OSError as error:
            found[name] = error.strerror or str(error)
    return found


def main() -> int:
    """Print what works, a line each: `NAME<tab>WHY NOT`."""
    os.unshare(os.CLONE_NEWNET)
    for name, why in asyncio.run(probe()).items():
        sys.stdout.write(f"{name}\t{why}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
