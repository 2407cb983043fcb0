"""A rate limit on what goes to one board: `tc` by netlink (pyroute2).

An HTB root lets all other traffic of the interface pass at once; one class with a token bucket
(tbf) takes what a u32 filter finds for the board's address.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import ipaddress
import socket
import struct
import zlib
from typing import Any

from pyroute2.iproute import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from rig.air.bounds import Way
from rig.air.journal import Qdisc
from rig.errors import FaultError

BURST = 1514
"""Bytes: one full Ethernet frame, the least that lets every packet pass."""
LATENCY_MS = 1000
"""The longest that a packet waits; what would wait longer is dropped."""
_FREE = 125_000_000
"""The class itself holds nothing back: 1 Gbit/s, in bytes; the bucket below it does."""
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40
_ROOT = 0xFFFFFFFF
_GONE = (errno.ENODEV, errno.ENOENT)
"""What the kernel says of an interface or a queueing discipline that is no more."""


def planned(way: Way, run: str) -> Qdisc:
    """The qdisc that a rate limit of this run would make."""
    return Qdisc(way.interface, way.index, 0x5200 | zlib.crc32(run.encode()) & 0xFF)


def carrier(interface: str) -> bool:
    """Whether an interface is up and running, as the kernel says (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        told = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("256s", interface.encode()))
    return bool(struct.unpack_from("=H", told, 16)[0] & _IFF_RUNNING)


class Shaper:
    """Rate limits by netlink, one request after the other; close it when done."""

    def __init__(self) -> None:
        self.ip: Any = AsyncIPRoute()
        self.turn = asyncio.Lock()
        """Held by whoever uses `ip`."""

    async def check(self, qdisc: Qdisc) -> None:
        """Raises `FaultError` when the interface has a queueing discipline that is not ours."""
        for found in await self._qdiscs(qdisc):
            if found["parent"] == _ROOT and found["handle"]:
                raise FaultError(
                    f"{qdisc.interface} has a queueing discipline already: "
                    f"{found.get_attr('TCA_KIND')} {found['handle'] >> 16:x}:",
                    hint="the rig leaves other people's alone: `tc qdisc show` lists them",
                )

    async def limit(self, way: Way, qdisc: Qdisc, kbit: float) -> None:
        """Let `kbit` kbit/s through to the board. Raises `FaultError`."""
        root, leaf = qdisc.handle << 16, qdisc.handle << 16 | 1
        rate = int(kbit * 125)
        target = int(ipaddress.IPv4Address(way.address))
        index = qdisc.index
        keys = [f"0x{target:08x}/0xffffffff+16"]
        if way.port is not None:  # TCP's destination port, behind an IP header without options
            keys += ["0x00060000/0x00ff0000+8", f"0x{way.port:08x}/0x0000ffff+20"]
        try:
            async with self.turn:
                await self.ip.tc("add", "htb", index, root, default=0)
                await self.ip.tc("add-class", "htb", index, leaf, parent=root, rate=_FREE)
                await self.ip.tc(
                    "add",
                    "tbf",
                    index,
                    (qdisc.handle ^ 0x0100) << 16,
                    parent=leaf,
                    rate=rate,
                    burst=BURST,
                    latency=f"{LATENCY_MS}ms",
                )
                await self.ip.tc(
                    "add-filter",
                    "u32",
                    index,
                    parent=root,
                    prio=1,
                    protocol=0x0800,
                    target=leaf,
                    keys=keys,
                )
        except NetlinkError as error:
            raise FaultError(
                f"the kernel made no rate limit on {qdisc.interface}: "
                f"{errno.errorcode.get(error.code, error.code)}",
                hint="it needs sch_htb, sch_tbf and cls_u32",
            ) from error

    async def counts(self, qdisc: Qdisc) -> dict[str, int]:
        """Packets that the bucket sent, dropped, and made wait (`overlimits`).

        Raises `FaultError`.
        """
        for found in await self._qdiscs(qdisc):
            if found["handle"] == (qdisc.handle ^ 0x0100) << 16:
                stats = found.get_attr("TCA_STATS")
                return {
                    "to_device": int(stats["packets"]),
                    "dropped": int(stats["drop"]),
                    "overlimits": int(stats["overlimits"]),
                }
        return {}

    async def remove(self, qdisc: Qdisc) -> bool:
        """Take the root away, if it is ours; the kernel puts its own default back.

        False: it is gone. Raises `FaultError`.
        """
        for found in await self._qdiscs(qdisc):
            ours = found["handle"] == qdisc.handle << 16 and found["parent"] == _ROOT
            if not ours or found.get_attr("TCA_KIND") != "htb":
                continue
            try:
                async with self.turn:
                    await self.ip.tc("del", index=qdisc.index, handle=found["handle"], root=True)
            except NetlinkError as error:
                if error.code in _GONE:
                    return False
                raise FaultError(
                    f"the rate limit on {qdisc.interface} was not removed: "
                    f"{errno.errorcode.get(error.code, error.code)}"
                ) from error
            return True
        return False

    async def _qdiscs(self, qdisc: Qdisc) -> list[Any]:
        """What is on the interface now; nothing, where that is gone. Raises `FaultError`."""
        try:
            async with self.turn:
                found = [each async for each in await self.ip.get_qdiscs(index=qdisc.index)]
        except NetlinkError as error:
            if error.code in _GONE:
                return []
            raise FaultError(
                f"the kernel does not say what limits {qdisc.interface}: "
                f"{errno.errorcode.get(error.code, error.code)}"
            ) from error
        return [each for each in found if each["index"] == qdisc.index]

    def close(self) -> None:
        """Close the netlink socket."""
        self.ip.close()
