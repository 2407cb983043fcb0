from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.air.bounds import Bounds, permitted
from rig.air.protocol import BoardAddress, Flow
from rig.errors import FaultError


@given(st.ip_addresses(v=4))
def test_no_address_of_the_public_internet_is_permitted(address: ipaddress.IPv4Address) -> None:
    try:
        permitted(str(address))
    except FaultError:
        return
    assert not address.is_global
    assert not address.is_multicast
    assert not address.is_reserved


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.251",
        "::1",
        "fe80::1",
        "10.0.0.0/8",
        "kitchen.local",
        "010.1.1.1",
        "10.1",
    ],
)
def test_what_is_no_private_ipv4_address_is_refused(address: str) -> None:
    with pytest.raises(FaultError):
        permitted(address)


def test_a_board_that_the_bench_does_not_name_cannot_be_reached() -> None:
    bounds = Bounds([BoardAddress("kitchen", "127.3.0.9")])
    with pytest.raises(FaultError, match=r"no board of this bench\n  next: its boards: kitchen"):
        bounds.way("bath")


def test_a_loopback_board_is_on_lo_and_only_its_port_is_its_own() -> None:
    way = Bounds([BoardAddress("kitchen", "127.3.0.9", 8928)]).way("kitchen")
    assert (way.interface, way.address, way.loopback) == ("lo", "127.3.0.9", True)
    assert way.flow(Flow(40_000, 8928)) == Flow(40_000, 8928)
    with pytest.raises(FaultError, match=r"port 5432 of 127\.3\.0\.9 is not kitchen's"):
        way.flow(Flow(40_000, 5432))


def test_an_address_of_this_hosts_own_needs_a_port() -> None:
    with pytest.raises(FaultError, match="an address of this host's own"):
        Bounds([BoardAddress("kitchen", "127.0.0.1")]).way("kitchen")
