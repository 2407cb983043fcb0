"""Taking changes back: a living helper's own, and those of a dead one from its journal."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from rig.air import iw, journal, links, netem
from rig.air.arp import announce
from rig.air.journal import AccessPoint, Arp, Change, Detour, Device, Link, Qdisc, Transmitter
from rig.air.leftovers import leftovers
from rig.air.netfilter import Tables
from rig.air.radio import put_back
from rig.air.traffic import Shaper
from rig.errors import FaultError

LOCKTIME_S = 1.1
"""A Linux host believes no second answer within a second of the first (`neigh/*/locktime`)."""


@dataclass(frozen=True, slots=True)
class Healed:
    """What was done about one journal."""

    path: Path
    undone: tuple[str, ...] = ()
    """What was still there and was taken back, in words."""
    left: str | None = None
    """Why it was left alone."""


async def undo(change: Change, tables: Tables, shaper: Shaper) -> bool:
    """Take one change back; False: nothing was left of it. Raises `FaultError`."""
    if isinstance(change, Qdisc):
        return await shaper.remove(change)
    if isinstance(change, Link):
        async with shaper.turn:
            return await links.switch(shaper.ip, change, up=True)
    if isinstance(change, Detour):
        async with shaper.turn:
            return await netem.straighten(shaper.ip, change)
    if isinstance(change, Device):
        async with shaper.turn:
            return await netem.remove(shaper.ip, change)
    if isinstance(change, Transmitter):
        return await iw.put_back(change)
    if isinstance(change, AccessPoint):
        return await put_back(change)
    if isinstance(change, Arp):
        told = announce(change)
        await asyncio.sleep(LOCKTIME_S)
        return announce(change) or told
    return await tables.remove(change.family, change.name)


def words(change: Change) -> str:
    """A change in words."""
    if isinstance(change, Qdisc):
        return f"rate limit on {change.interface} (qdisc {change.handle:x}:)"
    if isinstance(change, Link):
        return f"{change.interface} was down"
    if isinstance(change, Detour):
        return f"packets of {change.interface} sent through netem (filters {change.number:x})"
    if isinstance(change, Device):
        return f"netem's device {change.name}"
    if isinstance(change, Transmitter):
        return f"{change.interface} sent with less power"
    if isinstance(change, AccessPoint):
        which = change.hostapd or change.hotspot
        return f"access point {which} was {'off' if change.mhz is None else 'on another channel'}"
    if isinstance(change, Arp):
        return f"wrong ARP entry in {change.device}"
    return f"nftables table {change.family} {change.name}"


async def heal(folder: Path) -> list[Healed]:
    """Undo what dead helpers left in this network namespace, journal by journal."""
    healed = [await _heal(path) for path in leftovers(folder)]
    journal.sweep(folder)
    return healed


async def _heal(path: Path) -> Healed:
    try:
        with journal.adopt(path) as mine:
            if not mine:
                return Healed(path, left="its helper lives, or it is being healed")
            changes = _remaining(path)
            undone = await _undo_all(changes)
            journal.forget(path)
            return Healed(path, tuple(undone))
    except OSError as error:
        return Healed(path, left=error.strerror or str(error))
    except FaultError as error:
        return Healed(path, left=error.message)


def _remaining(path: Path) -> list[Change]:
    """What may be left of a journal's changes. Raises `FaultError`: not ours to undo."""
    head, changes = journal.read(path)
    if head is None:
        raise FaultError("it is no journal of the rig's")
    if head.boot != journal.boot_id():
        return []
    if head.netns != journal.netns():
        if _namespace_lives(head.netns):
            raise FaultError(f"it is of another network namespace ({head.netns})")
        return []
    return changes


async def _undo_all(changes: list[Change]) -> list[str]:
    if not changes:
        return []
    shaper = Shaper()
    try:
        async with Tables() as tables:
            return [words(each) for each in changes if await undo(each, tables, shaper)]
    finally:
        shaper.close()


def _namespace_lives(inode: int) -> bool:
    """Whether any process, or a name that `ip netns` gave, keeps that namespace alive."""
    for place in [*Path("/proc").glob("[0-9]*/ns/net"), *Path("/run/netns").glob("*")]:
        try:
            if os.stat(place).st_ino == inode:  # noqa: PTH116 (a magic link)
                return True
        except OSError:
            continue
    return False
