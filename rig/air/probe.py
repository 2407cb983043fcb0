"""What of the air works on this machine: tried in a network namespace of its own, then gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from rig.air import arp, forge, links, netem
from rig.air.bounds import Way
from rig.air.capture import Ear
from rig.air.disturb import Disturber
from rig.air.journal import Device, Link, Qdisc
from rig.air.netfilter import Tables
from rig.air.protocol import Disturb, Drop, Flow, Refuse
from rig.air.rules import Plan, drop, queue, refuse
from rig.air.sockets import destroy
from rig.air.traffic import Shaper
from rig.errors import FaultError, RigError

WAY = Way("probe", "127.0.0.1", "127.0.0.1", "lo", 1)
_VETH = "srigprobe"
_SECONDS = 5.0


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


async def _netem() -> None:
    """A device of the rig's with netem on it, as the fault makes it."""
    shaper = Shaper()
    device = Device("srigprobe0")
    try:
        await netem.make(shaper.ip, device, Disturb(board="probe", seconds=1, delay_ms=1))
    except NetlinkError as error:
        raise FaultError(netem.words(error)) from error
    finally:
        await netem.remove(shaper.ip, device)
        shaper.close()


async def _rate() -> None:
    shaper = Shaper()
    try:
        await shaper.limit(WAY, Qdisc("lo", 1, 0x5200), 64)
    finally:
        shaper.close()


async def _capture() -> None:
    Ear(WAY).close()


@contextlib.asynccontextmanager
async def _connection() -> AsyncIterator[tuple[Way, Flow, socket.socket, socket.socket]]:
    """A TCP connection on loopback, as between server and device."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as server:
        server.setblocking(False)
        port = listener.getsockname()[1]
        await loop.sock_connect(server, ("127.0.0.1", port))
        device, _ = listener.accept()
        with device:
            device.setblocking(False)
            way = Way("probe", "127.0.0.1", "127.0.0.1", "lo", 1, port=port)
            yield way, Flow(server.getsockname()[1], port), server, device


async def _ends(sock: socket.socket) -> None:
    """Raises `FaultError` when the kernel does not end the socket."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(_SECONDS):
            await asyncio.get_running_loop().sock_recv(sock, 1)
        raise FaultError("a socket outlived it")


async def _kill() -> None:
    async with _connection() as (way, flow, server, _device):
        await destroy(way, flow)
        await _ends(server)


async def _forge() -> None:
    async with _connection() as (way, flow, server, device):
        ear = Ear(way)
        try:
            await asyncio.get_running_loop().sock_sendall(server, b"?")
            device.recv(1)
            await forge.forge(ear, flow, "rst", "device")
            await _ends(device)
        finally:
            ear.close()


async def _link() -> None:
    """A link that goes down and up, and a frame on it."""
    shaper = Shaper()
    try:
        await shaper.ip.link("add", ifname=_VETH, kind="veth", peer={"ifname": "srigpeer"})
        link = Link(_VETH, socket.if_nametoindex(_VETH))
        await links.switch(shaper.ip, link, up=True)
        arp.send_frame(_VETH, bytes(60))
        await links.switch(shaper.ip, link, up=False)
        await shaper.ip.link("del", index=link.index)
    finally:
        shaper.close()


ABILITIES: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "silence-*, loss, mtu": lambda: _rules(drop(WAY, Drop(board="probe", seconds=1))),
    "refused": lambda: _rules(refuse(WAY, Refuse(board="probe", seconds=1))),
    "packet-*": _queue,
    "netem": _netem,
    "rate": _rate,
    "socket-killed, four-tuple-reuse": _kill,
    "*-forged, segment-*, syn-flood": _forge,
    "arp-hole, link-down": _link,
    "capture": _capture,
}
"""What is tried, under the names of the faults that are made of it. Without netem a packet queue
makes what it would."""


async def probe() -> dict[str, str]:
    """Each ability by name: an empty text, or why it is not there."""
    shaper = Shaper()
    await shaper.ip.link("set", index=1, state="up")
    shaper.close()
    found: dict[str, str] = {}
    for name, trial in ABILITIES.items():
        try:
            await trial()
            found[name] = ""
        except RigError as error:
            found[name] = error.message
        except NetlinkError as error:
            found[name] = str(error)
        except (OSError, TimeoutError) as error:
            found[name] = getattr(error, "strerror", None) or str(error) or "it took too long"
    return found


def main() -> int:
    """Print what works, a line each: `NAME<tab>WHY NOT`; exit code 77 without the rights to try."""
    try:
        os.unshare(os.CLONE_NEWNET)
    except PermissionError:
        sys.stderr.write("a network namespace to try in needs CAP_SYS_ADMIN\n")
        return 77
    for name, why in asyncio.run(probe()).items():
        sys.stdout.write(f"{name}\t{why}\n")
    return 0
