"""ARP (RFC 826) to one board alone: where this host is, truly or not. Frames are unicast."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

from msgspec.structs import replace

from rig.air.bounds import Way, permitted
from rig.air.journal import Arp
from rig.air.netfilter import FORGED_MARK, NOWHERE
from rig.air.route import lookup
from rig.errors import FaultError

_ETHERTYPE, _REPLY = 0x0806, 2
_IN_TABLE = 0x2
_SIOCGIFHWADDR = 0x8927


def reply(
    *, source_mac: bytes, sender: str, sender_mac: bytes, target: str, target_mac: bytes
) -> bytes:
    """An Ethernet frame: `sender` is at `sender_mac`, told to `target` only."""
    return struct.pack(
        "!6s6sHHHBBH6s4s6s4s",
        target_mac,
        source_mac,
        _ETHERTYPE,
        1,
        0x0800,
        6,
        4,
        _REPLY,
        sender_mac,
        socket.inet_aton(sender),
        target_mac,
        socket.inet_aton(target),
    )


def victim(way: Way) -> Arp:
    """The board's link address and ours. Raises `FaultError`: it is not on a link of ours."""
    if way.loopback:
        raise FaultError(
            f"{way.board} is on an address of this host's own: there is no ARP on it",
            hint="with root the virtual board has a link of its own",
        )
    if way.gateway is not None:
        raise FaultError(
            f"{way.board} is behind the gateway {way.gateway}, which is not its alone",
            hint="this fault needs the board on a network that this host is in",
        )
    return next_hop(way)


def next_hop(way: Way) -> Arp:
    """Who takes the board's packets on this link, itself or its gateway; as the kernel knows."""
    wanted = way.gateway or way.address
    for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
        address, _, flags, mac, _, interface = line.split()
        if address == wanted and interface == way.interface and int(flags, 16) & _IN_TABLE:
            return Arp(way.interface, wanted, mac, way.own, own_mac(way.interface))
    raise FaultError(
        f"the link address of {way.board} ({wanted}) is not known",
        hint="let it be reached first: this host has no ARP entry for it",
    )


def own_mac(interface: str) -> str:
    """This host's link address; by ioctl, for /sys shows the namespace that mounted it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            told = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("256s", interface.encode()))
        except OSError as error:
            raise FaultError(f"{interface} has no link address: {error.strerror}") from error
    return told[18:24].hex(":")


def mislead(arp: Arp) -> None:
    """Tell the board that this host is where nobody is."""
    _send(arp, NOWHERE)


def announce(arp: Arp) -> bool:
    """Tell the board the truth again; False: the interface is gone, and the board with it.

    The truth is looked up, not taken from the journal: whoever can write one tells no lies by it.
    """
    try:
        route = lookup(permitted(arp.device))
        if route.own != arp.own or socket.if_indextoname(route.index) != arp.interface:
            return False
        mac = own_mac(arp.interface)
        _send(replace(arp, own_mac=mac), bytes.fromhex(mac.replace(":", "")))
    except (FaultError, OSError):
        return False
    return True


def _send(arp: Arp, told: bytes) -> None:
    frame = reply(
        source_mac=bytes.fromhex(arp.own_mac.replace(":", "")),
        sender=arp.own,
        sender_mac=told,
        target=arp.device,
        target_mac=bytes.fromhex(arp.device_mac.replace(":", "")),
    )
    send_frame(arp.interface, frame)


def send_frame(interface: str, frame: bytes) -> None:
    """Put one frame on an interface, marked as forged. Raises `FaultError`."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, FORGED_MARK)
            sock.bind((interface, 0))
            sock.send(frame)
    except OSError as error:
        raise FaultError(f"cannot send on {interface}: {error.strerror}") from error
