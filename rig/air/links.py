"""Taking a link down, and up again: only one that nobody but the board is behind.

When an interface goes down Linux forgets what was put on it by hand: routes, permanent neighbours,
global IPv6 addresses. So an interface that has any of these is left alone.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from rig.air.bounds import Way
from rig.air.journal import Link
from rig.errors import FaultError

KINDS = ("veth", "tun")
"""Interfaces that end at one peer: a namespace, an emulator (a tap is of the kind `tun`)."""
_KERNEL, _LINK_SCOPE = 2, 253
_ANSWERED = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
"""Neighbours that are there, or were: reachable, stale, delay, probe, permanent."""
_PERMANENT = 0x80


async def check(ip: Any, way: Way) -> None:
    """Raises `FaultError` when the link to the board may not be taken down, and why."""
    why = None if way.gateway is None and way.port is None else "it is not on a link of its own"
    try:
        why = why or await _shared(ip, way) or await _kept_by_hand(ip, way)
    except NetlinkError as error:
        why = f"the kernel says {errno.errorcode.get(error.code, error.code)}"
    if why is not None:
        raise FaultError(
            f"the rig does not take {way.interface} down for {way.board}: {why}",
            hint="a board behind an access point is taken off the air by the access point",
        )


async def _shared(ip: Any, way: Way) -> str | None:
    """Who else may be behind the interface."""
    link = (await ip.link("get", index=way.index))[0]
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    if kind not in KINDS:
        return f"others may be behind it ({kind or 'a real interface'}; expected a veth or a tap)"
    if link.get_attr("IFLA_MASTER"):
        return "it belongs to a bridge"
    async for found in await ip.get_neighbours(family=socket.AF_INET, ifindex=way.index):
        other = found.get_attr("NDA_DST")
        if found["ifindex"] != way.index or not found["state"] & _ANSWERED:
            continue
        if other != way.address:
            return f"{other} is behind it too"
        if found["state"] & _PERMANENT:
            return f"the permanent neighbour {other} on it would be lost"
    return None


async def _kept_by_hand(ip: Any, way: Way) -> str | None:
    """What of the user's own would not come back with the interface."""
    for family in (socket.AF_INET, socket.AF_INET6):
        async for found in await ip.get_routes(family=family):
            if found.get_attr("RTA_OIF") == way.index and found["proto"] != _KERNEL:
                return f"the route to {found.get_attr('RTA_DST') or 'everywhere'} would be lost"
    async for found in await ip.get_addr(family=socket.AF_INET6, index=way.index):
        if found["index"] == way.index and found["scope"] != _LINK_SCOPE:
            return f"its address {found.get_attr('IFA_ADDRESS')} would be lost"
    return None


async def switch(ip: Any, link: Link, *, up: bool) -> bool:
    """Take an interface down or up; False: it is gone. Raises `FaultError`."""
    try:
        found = (await ip.link("get", index=link.index))[0]
        kind = found.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
        if found.get_attr("IFLA_IFNAME") != link.interface or kind not in KINDS:
            return False  # its number is another's now
        await ip.link("set", index=link.index, state="up" if up else "down")
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return False
        raise FaultError(
            f"{link.interface} stayed as it was: {errno.errorcode.get(error.code, error.code)}"
        ) from error
    return True
