"""ARP (RFC 826) to one board alone: where this host is, truly or not. Frames are unicast."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

from rig.air.bounds import Way
from rig.air.journal import Arp
from rig.air.netfilter import FORGED_MARK, NOWHERE
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
    """The board's link address and ours, as the kernel knows them. Raises `FaultError`."""
    if way.loopback:
        raise FaultError(
            f"{way.board} is on a loopback address: there is no ARP on it",
            hint="with root the virtual board has a link of its own",
        )
    for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
        address, _, flags, mac, _, interface = line.split()
        if address == way.address and interface == way.interface and int(flags, 16) & _IN_TABLE:
            return Arp(way.interface, way.address, mac, way.own, _own_mac(way.interface))
    raise FaultError(
        f"the link address of {way.board} ({way.address}) is not known",
        hint="let it be reached first: this host has no ARP entry for it",
    )


def _own_mac(interface: str) -> str:
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
    """Tell the board the truth again; False: the interface is gone, and the board with it."""
    try:
        _send(arp, bytes.fromhex(arp.own_mac.replace(":", "")))
    except FaultError:
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
