"""From a command to the nftables chains that carry it out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from rig.air import netfilter as nf
from rig.air.bounds import Way
from rig.air.netfilter import Chain, Expression, Family
from rig.air.protocol import Drop, Flow, Refuse, Shrink
from rig.air.protocol import Way as Towards

To = Literal["to_device", "to_server"]
Plan = list[tuple[Family, Sequence[Chain]]]
"""Tables to make: family and chains of each."""


def ways(way: Towards) -> Iterator[To]:
    """One or both directions."""
    if way != "to_server":
        yield "to_device"
    if way != "to_device":
        yield "to_server"


def drop(way: Way, command: Drop) -> Plan:
    """Lose a share."""
    return _lose(way, command.way, command.flow, nf.share_of(command.share))


def shrink(way: Way, command: Shrink) -> Plan:
    """Lose what is too long."""
    return _lose(way, command.way, command.flow, nf.longer_than(command.size))


def silence_flow(way: Way, flow: Flow, towards: Towards) -> Plan:
    """Lose all of one connection."""
    return _lose(way, towards, flow, [])


def keep_resets(way: Way, flow: Flow) -> Plan:
    """Lose the RSTs that the board sends on one connection."""
    rule = [*nf.packets(way, "to_server", flow), *nf.resets(), *nf.counted(), *nf.dropped()]
    return [("netdev", [Chain("resets", "ingress", rule, way.interface)])]


def ignore_answers(way: Way, low: int, high: int) -> Plan:
    """Lose what the board sends to these ports of this host."""
    rule = [
        *nf.packets(way, "to_server", None),
        *nf.to_ports(low, high),
        *nf.counted(),
        *nf.dropped(),
    ]
    return [("netdev", [Chain("answers", "ingress", rule, way.interface)])]


def refuse(way: Way, command: Refuse) -> Plan:
    """Answer instead of delivering: at this host's own door, towards either side."""
    chains = [
        Chain(
            to,
            "output" if to == "to_device" else "input",
            [*nf.packets(way, to, command.flow), *nf.refused(command.answer)],
        )
        for to in ways(command.way)
    ]
    return [("ip", chains)]


def queue(way: Way, towards: Towards, flow: Flow | None, number: int, *, native: bool) -> Plan:
    """Hand a board's packets over to user space."""
    chains = [
        Chain(
            to,
            "output" if to == "to_device" else "input",
            [*nf.packets(way, to, flow), *nf.counted(), *nf.queued(number, native=native)],
        )
        for to in ways(towards)
    ]
    return [("ip", chains)]


def _lose(way: Way, towards: Towards, flow: Flow | None, only: list[Expression]) -> Plan:
    chains = []
    for to in ways(towards):
        out = to == "to_device"
        # A write that fails ends the rule: what was not sent astray is not counted as lost.
        lost = [*nf.sent_nowhere(), *nf.counted()] if out else [*nf.counted(), *nf.dropped()]
        rule = [*nf.packets(way, to, flow), *only, *lost]
        chains.append(Chain(to, "egress" if out else "ingress", rule, way.interface))
    return [("netdev", chains)]
