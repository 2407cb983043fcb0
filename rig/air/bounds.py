"""The fence: which addresses the air may touch, and the way to each. Fixed once, at the start."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from rig.air.protocol import BoardAddress, Flow
from rig.air.route import lookup
from rig.errors import FaultError

ALLOWED = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
    )
)
"""RFC 1918, RFC 3927, RFC 6598 and loopback: what is never routed on the public Internet."""


ETHERNET, LOOPBACK = 1, 772
"""`ARPHRD_*` (linux/if_arp.h) of the interfaces whose frames have link addresses in them."""
_SIOCGIFHWADDR = 0x8927


@dataclass(frozen=True, slots=True)
class Way:
    """How this host reaches a board."""

    board: str
    address: str
    """The board's."""
    own: str
    """This host's, as the board sees it."""
    interface: str
    index: int
    gateway: str | None = None
    """Who takes the packets on, where the board is in another network."""
    port: int | None = None
    """Set where the address is this host's own: then only TCP to and from this port is the board's,
    all else on that address is somebody else's."""

    @property
    def loopback(self) -> bool:
        """Whether board and host share the loopback interface."""
        return self.port is not None

    def flow(self, flow: Flow) -> Flow:
        """The connection, if it is one of the board's. Raises `FaultError`."""
        if self.port is not None and flow.device_port != self.port:
            raise FaultError(
                f"port {flow.device_port} of {self.address} is not {self.board}'s: "
                f"that is port {self.port}"
            )
        return flow


def permitted(address: str) -> str:
    """`address` in its canonical form. Raises `FaultError` for one that is never touched."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise FaultError(
            f"'{address}' is no IPv4 address: packet faults are made on IPv4 only",
            hint="give the board's IPv4 address in the bench file",
        ) from error
    if not any(parsed in block for block in ALLOWED):
        raise FaultError(
            f"{parsed} is no private address: the air never touches a public one",
            hint="put the board on a network of your own (RFC 1918)",
        )
    return str(parsed)


class Bounds:
    """The bench's boards by name. No other address can be named to the helper."""

    def __init__(self, boards: Iterable[BoardAddress]) -> None:
        """Raises `FaultError` for an address that is never touched."""
        self._boards = {board.name: board for board in boards}
        self._gateways: dict[str, str | None] = {}
        """As first seen: a link that is down must not send what follows elsewhere."""
        for board in self._boards.values():
            permitted(board.address)

    def __len__(self) -> int:
        return len(self._boards)

    def way(self, board: str) -> Way:
        """The way to `board` now, as the kernel's routing has it.

        Raises `FaultError`: not a board of the bench, no way to it, or one without link addresses.
        """
        known = self._boards.get(board)
        if known is None:
            raise FaultError(
                f"'{board}' is no board of this bench",
                hint=f"its boards: {', '.join(sorted(self._boards)) or 'none'}",
            )
        address = permitted(known.address)
        try:
            route = lookup(address)
            name = socket.if_indextoname(route.index)
            kind = _hardware(name)
        except OSError as error:
            raise FaultError(
                f"there is no way from here to {board} at {address}: {error.strerror or error}",
                hint="is the network up that the board is in?",
            ) from error
        if route.default:
            raise FaultError(
                f"{address} is on no network that this host knows: only the default route leads "
                f"to {board}",
                hint="packet faults need the board on a network of this host, or a route to it",
            )
        if self._gateways.setdefault(board, route.gateway) != route.gateway:
            raise FaultError(
                f"the way to {board} is another one now ({route.gateway or name}): "
                "what was said of its link holds no more",
                hint="is its link down?",
            )
        if kind not in (ETHERNET, LOOPBACK):
            raise FaultError(
                f"{board} is behind {name}, which is no Ethernet or WiFi interface",
                hint="packet faults need link addresses: not a tunnel (tun, WireGuard, PPP)",
            )
        if route.local and known.port is None:
            raise FaultError(
                f"{address} is an address of this host's own, and {board}'s port is not known",
                hint="give the port in the bench file: address = 'HOST:PORT'",
            )
        port = known.port if route.local else None
        return Way(board, address, route.own, name, route.index, route.gateway, port)


def _hardware(interface: str) -> int:
    """The kind of an interface, `ARPHRD_*`; by ioctl, for /sys shows another namespace's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        told = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("256s", interface.encode()))
    return int(struct.unpack_from("=H", told, 16)[0])
