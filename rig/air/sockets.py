"""Destroying a socket of this host (SOCK_DESTROY, Linux 4.9), by netlink."""

from __future__ import annotations

import errno
import ipaddress
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST
from pyroute2.netlink.diag import SOCK_DESTROY, inet_diag_req
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

from rig.air.bounds import Way
from rig.air.protocol import Flow
from rig.errors import FaultError

_AF_INET, _TCP, _SOCK_DIAG = 2, 6, 4
_ANY_COOKIE = (1 << 64) - 1


async def destroy(way: Way, flow: Flow) -> None:
    """Abort this host's socket of the connection: its owner's next call fails.

    The kernel sends a RST as it does so; keep it back with a rule. Raises `FaultError`.
    """
    request = inet_diag_req()
    request["sdiag_family"], request["sdiag_protocol"] = _AF_INET, _TCP
    request["idiag_states"] = 0xFFFFFFFF
    request["idiag_sport"], request["idiag_dport"] = flow.server_port, flow.device_port
    request["idiag_src"] = (int(ipaddress.IPv4Address(way.own)), 0, 0, 0)
    request["idiag_dst"] = (int(ipaddress.IPv4Address(way.address)), 0, 0, 0)
    request["idiag_cookie"] = _ANY_COOKIE
    diag: Any = AsyncNetlinkSocket(_SOCK_DIAG)
    try:
        await diag.setup_endpoint()
        async for _ in await diag.nlm_request(request, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK):
            pass
    except NetlinkError as error:
        if error.code == errno.ENOENT:
            raise FaultError(
                f"this host has no connection from port {flow.server_port} to {way.board} "
                f"port {flow.device_port}",
                hint="`ss -tn` lists them",
            ) from error
        raise FaultError(
            f"the kernel destroyed no socket: {errno.errorcode.get(error.code, error.code)}",
            hint="it needs CONFIG_INET_DIAG_DESTROY",
        ) from error
    finally:
        diag.close()
