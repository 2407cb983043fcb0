"""The kernel's own answer to where packets for an address go (RTM_GETROUTE, rtnetlink(7)).

Policy routing, the host's own addresses and gateways are all in it, which `/proc/net/route` lacks.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_GETROUTE
from pyroute2.netlink.rtnl.rtmsg import rtmsg

_ERROR, _HEADER = 2, 16
_LARGEST = 1 << 16
_SECONDS = 2.0
_FIB_MATCH = 0x2000
"""`RTM_F_FIB_MATCH` (Linux 4.13): answer with the entry of the table, and how many bits it has."""
_UNICAST, _LOCAL = 1, 2
"""`rtm_type` (linux/rtnetlink.h): through an interface; to this host itself."""


@dataclass(frozen=True, slots=True)
class Route:
    """How packets for one address leave this host."""

    index: int
    """The interface they leave by; the loopback interface for an address of this host's own."""
    own: str
    """The address they leave with."""
    gateway: str | None
    """Whose link address they are sent to, where it is not the destination's own."""
    local: bool
    """Whether the address is this host's own."""
    default: bool
    """Whether it is the way to everywhere: this host knows of no such network."""


def lookup(address: str) -> Route:
    """The route to `address`. Raises `OSError`: there is none, or none for single hosts."""
    told = _ask(address)
    kind = int(told["type"])
    if kind not in (_UNICAST, _LOCAL):
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    own, index = told.get_attr("RTA_PREFSRC"), told.get_attr("RTA_OIF")
    if own is None or index is None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    gateway = told.get_attr("RTA_GATEWAY")
    return Route(
        index=int(index),
        own=str(own),
        gateway=None if gateway is None else str(gateway),
        local=kind == _LOCAL,
        default=int(_ask(address, _FIB_MATCH)["dst_len"]) == 0,
    )


def _ask(address: str, flags: int = 0) -> Any:
    message = rtmsg()
    message["family"], message["dst_len"], message["flags"] = socket.AF_INET, 32, flags
    message["attrs"] = [("RTA_DST", address)]
    message["header"]["type"] = RTM_GETROUTE
    message["header"]["flags"] = NLM_F_REQUEST
    message.encode()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_SECONDS)
        sock.send(message.data)
        data = sock.recv(_LARGEST)
    if struct.unpack_from("=H", data, 4)[0] == _ERROR:
        code = -struct.unpack_from("=i", data, _HEADER)[0]
        raise OSError(code, os.strerror(code))
    answer = rtmsg(data)
    answer.decode()
    return answer
