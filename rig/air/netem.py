"""Delay, loss, reordering and duplicates by the kernel's netem: a detour for one board's packets.

Each way has a queue of its own: an ifb device of the rig's with netem on it (tc-netem(8), ifb(4)).
A u32 filter at the interface's clsact hook sends what belongs to the board, or to one connection
of it, round by there; all else goes on as ever, and the interface's own queue is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import zlib
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from rig.air.bounds import Way
from rig.air.journal import Detour, Device
from rig.air.protocol import Disturb, Flow
from rig.air.rules import To
from rig.errors import FaultError

HOOKS: dict[To, int] = {"to_device": 0xFFFFFFF3, "to_server": 0xFFFFFFF2}
"""`TC_H_CLSACT` with `TC_H_MIN_EGRESS` and `TC_H_MIN_INGRESS` (linux/pkt_sched.h)."""
LIMIT = 1000
"""Packets that wait at once: tc's own default."""
ROOT = 0x52000000
"""Handle 5200: of the rig's netem."""
_CLSACT, _IPV4 = 0xFFFFFFF1, 0x0800
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)


def planned(way: Way, run: str) -> Detour:
    """The detour that a fault of this run would make; its number is its filters' preference."""
    return Detour(way.interface, way.index, 0x5200 | zlib.crc32(run.encode()) & 0xFF)


def parameters(command: Disturb) -> dict[str, float]:
    """What netem is told, as pyroute2 has it: microseconds, percent; 0 is not at all."""
    return {
        "limit": LIMIT,
        "delay": round(command.delay_ms * 1000),
        "jitter": round(command.jitter_ms * 1000),
        "loss": _percent(command.loss),
        "duplicate": _percent(command.duplicate),
        "prob_reorder": _percent(command.reorder if command.delay_ms else 0),
    }


def _percent(share: float) -> float:
    """With half a step added, for pyroute2 cuts off where tc(8) rounds to 1/(2**32 - 1)."""
    return share * 100 + 50 / 0xFFFFFFFF if share else 0


def keys(way: Way, to: To, flow: Flow | None) -> list[str]:
    """What the filter looks for in a packet, as u32 has it: VALUE/MASK+OFFSET in the IP header."""
    address = int(ipaddress.IPv4Address(way.address))
    found = [f"0x{address:08x}/0xffffffff+{16 if to == 'to_device' else 12}"]
    if flow is not None:
        ports = flow.server_port, flow.device_port
        source, destination = ports if to == "to_device" else ports[::-1]
        found += [
            "0x45000000/0xff000000+0",  # no options: the ports are behind 20 bytes
            "0x00000000/0x00001fff+4",  # not a later fragment, which has none
            "0x00060000/0x00ff0000+8",  # TCP
            f"0x{source << 16 | destination:08x}/0xffffffff+20",
        ]
    return found


async def check_free(ip: Any, way: Way) -> None:
    """Raises `FaultError` when somebody has filters at the interface's hooks already."""
    async for found in await ip.get_qdiscs(index=way.index):
        if found["index"] == way.index and found["parent"] == _CLSACT:
            raise FaultError(f"{way.interface} has a clsact or ingress qdisc already")


async def make(ip: Any, device: Device, command: Disturb) -> int:
    """Make the device with netem on it; its index. Raises `NetlinkError`."""
    await ip.link("add", ifname=device.name, kind="ifb")
    index = int((await ip.link_lookup(ifname=device.name))[0])
    await ip.tc("add", "netem", index, ROOT, **parameters(command))
    _mute(device)
    await ip.link("set", index=index, state="up")
    return index


def _mute(device: Device) -> None:
    """Have the host say nothing of its own on the device: its queue would count that (ip-sysctl).

    Where there is no IPv6 there is nothing to be said.
    """
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/sys/net/ipv6/conf/{device.name}/disable_ipv6").write_text("1")


async def send_round(
    ip: Any, way: Way, detour: Detour, command: Disturb, devices: dict[To, int]
) -> None:
    """Send the board's packets through the devices. Raises `NetlinkError`."""
    await ip.tc("add", "clsact", way.index)
    for to, device in devices.items():
        await ip.tc(
            "add-filter",
            "u32",
            way.index,
            parent=HOOKS[to],
            prio=detour.number,
            protocol=_IPV4,
            target=0x10001,
            keys=keys(way, to, command.flow),
            action=[
                {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": device}
            ],
        )


def words(error: NetlinkError) -> str:
    """Why the kernel makes no detour."""
    if error.code in (errno.ENOENT, errno.EOPNOTSUPP):
        return "this kernel lacks it (or ifb, clsact, u32, mirred)"
    return f"the kernel says {errno.errorcode.get(error.code, error.code)}"


async def counts(ip: Any, way: Way, devices: dict[To, int], command: Disturb) -> dict[str, int]:
    """What the queues have counted, by the names of `rig.air.disturb`, and packets by way.

    netem counts what it lost (drops) and what overtook (requeues). What it doubled is what came
    out, waits or was lost beyond what the filter sent in. Raises `NetlinkError`.
    """
    found: Counter[str] = Counter()
    for to, device in devices.items():
        queue = await _netem(ip, device)
        taken = await _redirected(ip, way, to, device)  # later: what came meanwhile is not doubled
        if queue is None:
            continue
        out, overtaking = queue["packets"], queue["requeues"]
        found[to] += out
        found["lost"] += queue["drops"]
        found["overtaking"] += overtaking
        if command.delay_ms > command.jitter_ms:  # else some do not wait
            found["delayed"] += max(0, out - overtaking) + queue["qlen"]
        elif command.delay_ms:
            found["delayed"] += queue["qlen"]
        if command.duplicate:
            found["doubled"] += max(0, out + queue["qlen"] + queue["drops"] - taken)
    return dict(found)


async def _netem(ip: Any, device: int) -> dict[str, int] | None:
    async for found in await ip.get_qdiscs(index=device):
        if found["index"] == device and found["handle"] == ROOT:
            stats = found.get_attr("TCA_STATS2")
            return {"packets": stats.get_attr("TCA_STATS_BASIC")["packets"]} | {
                name: stats.get_attr("TCA_STATS_QUEUE")[name]
                for name in ("drops", "requeues", "qlen")
            }
    return None


async def _redirected(ip: Any, way: Way, to: To, device: int) -> int:
    """Packets that the filter sent round by `device`."""
    for _, target, packets in await _filters(ip, way, HOOKS[to]):
        if target == device:
            return packets
    return 0


async def _filters(ip: Any, where: Way | Detour, hook: int) -> list[tuple[int, int | None, int]]:
    """The filters at a hook: preference, the device that they send to, packets sent there."""
    filters = []
    async for found in await ip.get_filters(index=where.index, parent=hook):
        options = found.get_attr("TCA_OPTIONS")
        target, packets = None, 0
        acts = options.get_attr("TCA_U32_ACT") if hasattr(options, "get_attr") else None
        for _, act in acts["attrs"] if acts is not None else ():
            if act.get_attr("TCA_ACT_KIND") == "mirred":
                told = act.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
                target = int(told["ifindex"])
                packets = int(act.get_attr("TCA_ACT_STATS").get_attr("TCA_STATS_BASIC")["packets"])
        filters.append((found["info"] >> 16, target, packets))
    return filters


async def straighten(ip: Any, detour: Detour) -> bool:
    """Take the filters away, and the hook where it is empty then; False: there were none.

    Filters of other people's stay, and keep the hook. Raises `FaultError`.
    """
    there = False
    try:
        for hook in HOOKS.values():
            if any(number == detour.number for number, _, _ in await _filters(ip, detour, hook)):
                there |= await _deleted(
                    ip.tc("del-filter", index=detour.index, parent=hook, prio=detour.number)
                )
        left = [each for hook in HOOKS.values() for each in await _filters(ip, detour, hook)]
        kinds = [
            each.get_attr("TCA_KIND")
            async for each in await ip.get_qdiscs(index=detour.index)
            if each["index"] == detour.index
        ]
        if not left and "clsact" in kinds:
            there |= await _deleted(ip.tc("del", "clsact", detour.index))
    except NetlinkError as error:
        if error.code in _GONE:
            return there
        raise FaultError(
            f"the detour on {detour.interface} was not removed: "
            f"{errno.errorcode.get(error.code, error.code)}"
        ) from error
    return there


async def _deleted(request: Awaitable[Any]) -> bool:
    """Whether there was anything: u32 lists the filters of both hooks at either (`tc_u_common`)."""
    try:
        await request
    except NetlinkError as error:
        if error.code not in _GONE:
            raise
        return False
    return True


async def remove(ip: Any, device: Device) -> bool:
    """Remove a device of the rig's, with what waits in it; False: it is gone. Raises `FaultError`.

    Only an ifb, whatever has that name.
    """
    try:
        for index in await ip.link_lookup(ifname=device.name):
            link = (await ip.link("get", index=index))[0]
            if link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "ifb":
                await ip.link("del", index=index)
                return True
    except NetlinkError as error:
        if error.code not in _GONE:
            raise FaultError(
                f"{device.name} was not removed: {errno.errorcode.get(error.code, error.code)}"
            ) from error
    return False
