"""nftables rules by netlink (pyroute2), in tables that the kernel removes with this process.

Every fault has tables of its own, flagged `owner` (Linux 5.12): when the socket that made them is
closed, also by `kill -9`, they are gone, and nobody else can change them meanwhile.

Towards the device a packet is not dropped but sent to a link address that nobody has. A drop
on the way out is reported to the local TCP, which then knows; so it believes it sent, as it would
with a radio, and a capture shows the packet and every retransmission.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pyroute2.netlink import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink import nftsocket as nft

from rig.air.bounds import Way
from rig.air.protocol import Flow, Refusal
from rig.errors import FaultError

Family = Literal["ip", "netdev"]
Expression = dict[str, Any]

FAMILIES: dict[Family, int] = {"ip": nft.NFPROTO_IPV4, "netdev": nft.NFPROTO_NETDEV}
HOOKS = {"ingress": 0, "egress": 1, "input": 1, "output": 3}
"""`enum nf_dev_hooks` and `enum nf_inet_hooks`."""
NOWHERE = bytes.fromhex("02737269676d")
"""A locally administered link address that nobody has."""
FORGED_MARK = 0x53524947
"""The socket mark of what the helper itself sends: no fault applies to it."""
PRIORITY = -150

_OWNER = 2
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_LINK, _NETWORK, _TRANSPORT = 0, 1, 2
_IP_LENGTH, _IP_SOURCE, _IP_DESTINATION = 2, 12, 16
_TCP_FLAGS = 13


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain with one rule; its name is what its counter is called."""

    name: str
    hook: Literal["ingress", "egress", "input", "output"]
    rule: Sequence[Expression]
    device: str | None = None


# -- expressions ----------------------------------------------------------------------------


def _expression(kind: str, /, **fields: object) -> Expression:
    prefix = "NG" if kind == "numgen" else kind.upper()
    attributes = [(f"NFTA_{prefix}_{name.upper()}", value) for name, value in fields.items()]
    return {"attrs": [("NFTA_EXPR_NAME", kind), ("NFTA_EXPR_DATA", {"attrs": attributes})]}


def _value(data: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def _compare(data: bytes, op: nft.Cmp = nft.Cmp.NFT_CMP_EQ) -> Expression:
    return _expression("cmp", sreg=1, op=op, data=_value(data))


def _load(base: int, offset: int, length: int) -> Expression:
    return _expression("payload", dreg=1, base=base, offset=offset, len=length)


def packets(way: Way, to: Literal["to_device", "to_server"], flow: Flow | None) -> list[Expression]:
    """Match what goes one way between this host and the board; forged packets are let alone.

    On an address of this host's own, only what the board's own port sends and receives.
    """
    device = socket.inet_aton(way.address)
    rule = [
        _expression("meta", dreg=1, key=nft.Meta.NFT_META_MARK),
        _compare(struct.pack("=I", FORGED_MARK), nft.Cmp.NFT_CMP_NEQ),
        _expression("meta", dreg=1, key=nft.Meta.NFT_META_PROTOCOL),
        _compare(struct.pack("!H", 0x0800)),
        _load(_NETWORK, _IP_DESTINATION if to == "to_device" else _IP_SOURCE, 4),
        _compare(device),
    ]
    if way.port is not None and flow is None:
        at = 2 if to == "to_device" else 0
        rule += [*tcp(), _load(_TRANSPORT, at, 2), _compare(struct.pack("!H", way.port))]
    if flow is not None:
        ports = (flow.server_port, flow.device_port)
        rule += [
            *tcp(),
            _load(_TRANSPORT, 0, 4),
            _compare(struct.pack("!HH", *(ports if to == "to_device" else ports[::-1]))),
        ]
    return rule


def tcp() -> list[Expression]:
    """Match TCP."""
    return [
        _expression("meta", dreg=1, key=nft.Meta.NFT_META_L4PROTO),
        _compare(bytes([socket.IPPROTO_TCP])),
    ]


def to_ports(low: int, high: int) -> list[Expression]:
    """Match TCP segments to destination ports `low` to `high`."""
    return [
        *tcp(),
        _load(_TRANSPORT, 2, 2),
        _compare(struct.pack("!H", low), nft.Cmp.NFT_CMP_GTE),
        _compare(struct.pack("!H", high), nft.Cmp.NFT_CMP_LTE),
    ]


def resets() -> list[Expression]:
    """Match TCP segments with the RST flag."""
    return [
        *tcp(),
        _load(_TRANSPORT, _TCP_FLAGS, 1),
        _expression("bitwise", sreg=1, dreg=1, len=1, mask=_value(b"\x04"), xor=_value(b"\x00")),
        _compare(b"\x00", nft.Cmp.NFT_CMP_NEQ),
    ]


def longer_than(size: int) -> list[Expression]:
    """Match IP packets of more than `size` bytes."""
    return [
        _load(_NETWORK, _IP_LENGTH, 2),
        _compare(struct.pack("!H", size), nft.Cmp.NFT_CMP_GT),
    ]


def share_of(share: float) -> list[Expression]:
    """Match a random share of the packets, in steps of a ten-thousandth."""
    if share >= 1:
        return []
    return [
        _expression("numgen", dreg=1, modulus=10_000, type=1, offset=0),
        _expression("byteorder", sreg=1, dreg=1, op=1, len=4, size=4),
        _compare(struct.pack("!I", round(share * 10_000)), nft.Cmp.NFT_CMP_LT),
    ]


def counted() -> list[Expression]:
    """Count what comes so far in the rule."""
    return [_expression("counter", bytes=0, packets=0)]


def dropped() -> list[Expression]:
    """Drop: for what comes in."""
    verdict = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": [("NFTA_VERDICT_CODE", 0)]})]}
    return [_expression("immediate", dreg=0, data=verdict)]


def sent_nowhere() -> list[Expression]:
    """Send on to a link address that nobody has: for what goes out by an interface."""
    write = _expression("payload", sreg=1, base=_LINK, offset=0, len=6, csum_type=0, csum_offset=0)
    return [_expression("immediate", dreg=1, data=_value(NOWHERE)), write]


def refused(answer: Refusal) -> list[Expression]:
    """Answer the sender; ICMP codes of RFC 792 and RFC 1812."""
    if answer == "tcp-reset":
        return [*tcp(), *counted(), _expression("reject", type=1)]
    code = {"icmp-host": 1, "icmp-port": 3, "icmp-admin": 13}[answer]
    return [*counted(), _expression("reject", type=0, icmp_code=code)]


def queued(number: int, *, native: bool) -> list[Expression]:
    """Hand over to user space; let pass when nobody is there to take it.

    `native` is nftables' own expression; without (`CONFIG_NFT_QUEUE` is missing in some kernels)
    it is xtables' NFQUEUE target, `struct xt_NFQ_info_v3`.
    """
    if native:
        return [_expression("queue", num=number, total=1, flags=1)]
    info = struct.pack("=HHH", number, 1, 1)
    return [_expression("target", name="NFQUEUE", rev=3, info=info)]


# -- tables -----------------------------------------------------------------------------------


def _message(
    cls: type[Any], kind: int, family: Family, how: int, /, **attributes: object
) -> nfgen_msg:
    message = cls()
    message["nfgen_family"] = FAMILIES[family]
    message["attrs"] = [(cls.name2nla(name), value) for name, value in attributes.items()]
    message["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | kind
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | how
    return message


def _envelope(kind: int) -> nfgen_msg:
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST
    return message


class Tables:
    """The rig's nftables tables, on one netlink socket. An async context manager.

    One request after the other: the kernel refuses a second dump on a socket (EBUSY).
    """

    def __init__(self) -> None:
        self._socket: Any = nft.AsyncNFTSocket()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._socket.setup_endpoint()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._socket.close()

    async def add(self, family: Family, table: str, chains: Sequence[Chain]) -> None:
        """Make a table of ours, in one transaction. Raises `FaultError`."""
        messages = [
            _message(
                nft.nft_table_msg,
                nft.NFT_MSG_NEWTABLE,
                family,
                NLM_F_CREATE | NLM_F_EXCL,
                name=table,
                flags=_OWNER,
            )
        ]
        for chain in chains:
            messages += self._chain(family, table, chain)
        try:
            await self._commit(messages)
        except NetlinkError as error:
            raise FaultError(
                f"nftables refused the rules of {table}: {_words(error)}",
                hint="`rig doctor` says what this kernel has",
            ) from error

    def _chain(self, family: Family, table: str, chain: Chain) -> list[nfgen_msg]:
        hook: list[tuple[str, object]] = [
            ("NFTA_HOOK_HOOKNUM", HOOKS[chain.hook]),
            ("NFTA_HOOK_PRIORITY", PRIORITY),
        ]
        if chain.device is not None:
            hook.append(("NFTA_HOOK_DEV", chain.device))
        return [
            _message(
                nft.nft_chain_msg,
                nft.NFT_MSG_NEWCHAIN,
                family,
                NLM_F_CREATE,
                table=table,
                name=chain.name,
                hook={"attrs": hook},
                type="filter",
            ),
            _message(
                nft.nft_rule_msg,
                nft.NFT_MSG_NEWRULE,
                family,
                NLM_F_CREATE | NLM_F_APPEND,
                table=table,
                chain=chain.name,
                expressions=list(chain.rule),
            ),
        ]

    async def remove(self, family: Family, table: str) -> bool:
        """Remove a table; False: there was none. Raises `FaultError`."""
        message = _message(nft.nft_table_msg, nft.NFT_MSG_DELTABLE, family, 0, name=table)
        try:
            await self._commit([message])
        except NetlinkError as error:
            if error.code == errno.ENOENT:
                return False
            raise FaultError(f"nftables did not remove {table}: {_words(error)}") from error
        return True

    async def counts(self, family: Family, table: str) -> dict[str, int]:
        """Packets counted so far, by chain. Raises `FaultError`."""
        try:
            async with self._turn:
                return await self._counts(family, table)
        except NetlinkError as error:
            raise FaultError(f"nftables did not count {table}: {_words(error)}") from error

    async def _counts(self, family: Family, table: str) -> dict[str, int]:
        ask = _message(nft.nft_rule_msg, nft.NFT_MSG_GETRULE, family, 0, table=table)
        self._socket._nfgen_family = FAMILIES[family]  # request_get overwrites the message's own
        found: dict[str, int] = {}
        async for rule in await self._socket.request_get(ask, nft.NFT_MSG_GETRULE):
            if rule.get_attr("NFTA_RULE_TABLE") != table:
                continue
            for each in rule.get_attr("NFTA_RULE_EXPRESSIONS") or ():
                if each.get_attr("NFTA_EXPR_NAME") == "counter":
                    data = each.get_attr("NFTA_EXPR_DATA")
                    name = str(rule.get_attr("NFTA_RULE_CHAIN"))
                    found[name] = int(data.get_attr("NFTA_COUNTER_PACKETS"))
        return found

    async def _commit(self, messages: list[nfgen_msg]) -> None:
        batch = [_envelope(_BATCH_BEGIN), *messages, _envelope(_BATCH_END)]
        async with self._turn:
            async for _ in self._socket.nlm_request_batch(batch):
                pass


def _words(error: NetlinkError) -> str:
    return f"{errno.errorcode.get(error.code, str(error.code))} ({error.args[-1]})"
