"""The board's place in the network: a namespace behind a veth with root, else a loopback address.

Whatever is made here belongs to the process: a `kill -9` takes namespace, veth and address along.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import ipaddress
import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from rig.errors import BoardError

BOARD_INTERFACE = "srigsta"
"""The board's own end of the veth."""
_SO_ATTACH_FILTER, _RTMGRP_LINK, _LOWER_UP = 26, 1, 1 << 16


class Network:
    """Where the station's address lives; without more, on a link that cannot go down."""

    kind: str
    """`netns` or `loopback`."""
    address = ""
    interface: str | None = None
    """The host's end of the veth, where there is one."""
    air = True
    """Whether anything can be heard at all."""

    def __init__(self) -> None:
        self.on_air: Callable[[], None] = lambda: None
        """Called when the path appears or vanishes."""
        self._hold: socket.socket | None = None

    async def attach(self) -> None:
        """The station has its address from now on."""

    async def detach(self) -> None:
        """The station has none: packets to it find nobody."""

    def mute(self, sock: socket.socket) -> bool:
        """This socket hears nothing any more, and so answers nothing. False: not in its power."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give the address back."""
        if self._hold:
            self._hold.close()


class Loopback(Network):
    """An address of its own in 127.0.0.0/8, which the host always has."""

    kind = "loopback"

    def __init__(self, seed: str) -> None:
        """Raises `BoardError` when no address is free."""
        super().__init__()
        base = zlib.crc32(seed.encode())
        hosts = (
            f"127.{10 + (base >> 16) % 200}.{base >> 8 & 255}.{1 + (base + n) % 250}"
            for n in range(250)
        )
        self.address, self._hold = reserve(hosts)

    def mute(self, sock: socket.socket) -> bool:
        """Drop everything that comes for `sock`, before TCP sees it (a filter of one `ret 0`).

        False where the socket is closed already, or the kernel keeps filters for root (EPERM).
        """
        code = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0), 8)
        program = struct.pack(
            "HL" if struct.calcsize("P") == 8 else "HI", 1, ctypes.addressof(code)
        )
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        except OSError:
            return False
        return True


def reserve(addresses: Iterator[str]) -> tuple[str, socket.socket]:
    """The first address that no other board holds, and the socket that holds it while open.

    Abstract sockets are names that the kernel frees when their process dies.
    """
    for address in addresses:
        hold = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            hold.bind(f"\0srig-address-{address}")
        except OSError:
            hold.close()
            continue
        return address, hold
    raise BoardError("no address is free for the virtual board", hint="unplug some: rig unplug")


class Namespace(Network):
    """A network namespace that is this process, behind a veth to the host."""

    kind = "netns"
    air = False

    async def open(self, seed: str, mac: bytes) -> None:
        """Make it. Raises `OSError` or pyroute2's `NetlinkError` without the rights."""
        from pyroute2.iproute import AsyncIPRoute

        self._host: Any = AsyncIPRoute()
        host_ns = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            gateway = await self._free_block(seed)
            os.unshare(os.CLONE_NEWNET)
            self._own: Any = AsyncIPRoute()
            index = int(gateway) >> 2 & 0x3FFF
            self.interface = f"srig{index:04x}"
            await self._own.link(
                "add",
                ifname=BOARD_INTERFACE,
                kind="veth",
                address=mac.hex(":"),
                peer={"ifname": self.interface, "net_ns_fd": host_ns},
            )
        finally:
            os.close(host_ns)
        self._index = (await self._own.link_lookup(ifname=BOARD_INTERFACE))[0]
        self._far = far = (await self._host.link_lookup(ifname=self.interface))[0]
        loopback = (await self._own.link_lookup(ifname="lo"))[0]
        await self._own.link("set", index=loopback, state="up")
        self._watch()
        await self._host.addr("add", index=far, address=str(gateway), prefixlen=30)
        await self._host.link("set", index=far, state="up")
        await self._own.link("set", index=self._index, state="up")
        self._gateway, self.address = str(gateway), str(gateway + 1)

    async def _free_block(self, seed: str) -> ipaddress.IPv4Address:
        """The host's address in a free /30 of 10.213.0.0/16."""
        taken = [
            ipaddress.ip_network(f"{route.get('dst')}/{route['dst_len']}")
            async for route in await self._host.get_routes(family=socket.AF_INET)
            if route.get("dst") and route["dst_len"] > 8
        ]
        base = zlib.crc32(seed.encode())
        blocks = (
            ipaddress.ip_network((0x0AD50000 + ((base + n) % 0x4000 << 2), 30)) for n in range(512)
        )
        free = (str(b[1]) for b in blocks if not any(b.overlaps(other) for other in taken))
        address, self._hold = reserve(free)
        return ipaddress.IPv4Address(address)

    def _watch(self) -> None:
        """Follow the carrier of the board's end by netlink."""
        self._links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._links.setblocking(False)
        self._links.bind((0, _RTMGRP_LINK))
        asyncio.get_running_loop().add_reader(self._links, self._link_changed)

    def _link_changed(self) -> None:
        data = self._links.recv(65536)
        _length, _kind, index, flags = struct.unpack_from("<IH14xiI", data)
        heard = bool(flags & _LOWER_UP)
        if index == self._index and heard is not self.air:
            self.air = heard
            self.on_air()

    async def attach(self) -> None:
        """Take the address and the way out; without a carrier the kernel keeps them for later."""
        await self._own.addr("replace", index=self._index, address=self.address, prefixlen=30)
        await self._own.route("replace", dst="default", gateway=self._gateway)

    async def detach(self) -> None:
        """Drop the address; sockets that are bound to it stay, and hear nothing."""
        await self._own.flush_addr(index=self._index)

    def mute(self, sock: socket.socket) -> bool:  # noqa: ARG002
        """Nothing to do: without the address nothing reaches it."""
        return True

    async def close(self) -> None:
        """Take the veth away: a connection that the device closed and whose FIN nobody has answered
        keeps the namespace, and all that is in it, for minutes after the process has ended.
        """
        asyncio.get_running_loop().remove_reader(self._links)
        self._links.close()
        from pyroute2.netlink.exceptions import NetlinkError

        with contextlib.suppress(NetlinkError):  # somebody has taken it away already
            await self._host.link("del", index=self._far)
        await super().close()


def _modules_alone(package: str) -> None:
    """Import `package` without what its `__init__` imports: 0.2 s of a board's start were that."""
    spec = importlib.util.find_spec(package)
    if spec is not None and package not in sys.modules:
        sys.modules[package] = importlib.util.module_from_spec(spec)


async def open_network(seed: str, mac: bytes, *, namespace: bool) -> tuple[Network, str | None]:
    """A network for the board, and why it is no namespace although one was asked for."""
    if not namespace:
        return Loopback(seed), None
    if os.geteuid() != 0:
        return Loopback(seed), "no namespace of its own: that needs root"
    _modules_alone("pyroute2")
    from pyroute2.netlink.exceptions import NetlinkError

    network = Namespace()
    try:
        await network.open(seed, mac)
    except (OSError, NetlinkError) as error:
        return Loopback(seed), f"no namespace of its own: {error}"
    return network, None
