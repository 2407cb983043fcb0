"""The fence: which addresses the air may touch, and the way to each. Fixed once, at the start."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rig.air.protocol import BoardAddress
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

    @property
    def loopback(self) -> bool:
        """Whether board and host share the loopback interface."""
        return self.address.startswith("127.")


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
        self._addresses = {board.name: permitted(board.address) for board in boards}

    def __len__(self) -> int:
        return len(self._addresses)

    def way(self, board: str) -> Way:
        """The way to `board` now. Raises `FaultError`: not a board of the bench, or no way."""
        address = self._addresses.get(board)
        if address is None:
            raise FaultError(
                f"'{board}' is no board of this bench",
                hint=f"its boards: {', '.join(sorted(self._addresses)) or 'none'}",
            )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((address, 9))  # a UDP connect sends nothing: it asks for the route
                own = str(probe.getsockname()[0])
            except OSError as error:
                raise FaultError(
                    f"there is no way from here to {board} at {address}: {error.strerror}",
                    hint="is the network up that the board is in?",
                ) from error
        name = "lo" if address.startswith("127.") else _interface(address)
        try:
            return Way(board, address, own, name, socket.if_nametoindex(name))
        except OSError as error:
            raise FaultError(f"the interface {name} to {board} has just gone") from error


def _interface(address: str) -> str:
    """The interface of the most specific route to `address` (`/proc/net/route`).

    Raises `FaultError` when the board is behind a gateway: its packets share their next hop then.
    """
    wanted = int(ipaddress.IPv4Address(address))
    best: tuple[int, int, str, bool] | None = None
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        name, destination, gateway, flags, _, _, metric, mask = line.split()[:8]
        bits = _host_order(mask)
        if not int(flags, 16) & 1 or wanted & bits != _host_order(destination):
            continue
        route = (bits.bit_count(), -int(metric), name, int(gateway, 16) != 0)
        best = max(best, route) if best else route
    if best is None or best[3]:
        raise FaultError(
            f"{address} is {'behind a gateway' if best else 'not on any network of this host'}",
            hint="packet faults need the board on a network that this host is in",
        )
    return best[2]


def _host_order(hexadecimal: str) -> int:
    return int.from_bytes(bytes.fromhex(hexadecimal)[::-1], "big")
