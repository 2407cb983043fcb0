"""Boards in networks that the rig did not make: behind a bridge, behind a gateway, on this host."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from typing import Any

import pytest

from rig.air.bounds import Bounds
from rig.air.client import Air
from rig.air.protocol import ArpHole, BoardAddress, Capture, Drop, Flow, Forge, LinkDown, Rate
from rig.air.route import lookup
from rig.errors import FaultError

from .conftest import DEVICE, LINK, inside

pytestmark = pytest.mark.root

BOARD = "kitchen"


def flow_of(server: socket.socket) -> Flow:
    return Flow(server.getsockname()[1], server.getpeername()[1])


async def pair(lab: Any, address: str, port: int = 8928) -> tuple[socket.socket, socket.socket]:
    """A connection to a listener in the device's namespace, at any of its addresses."""
    loop = asyncio.get_running_loop()
    with inside(lab.device_namespace):
        listener = socket.create_server((address, port))
    with listener:
        listener.setblocking(False)
        server = socket.socket()
        server.setblocking(False)
        await loop.sock_connect(server, (address, port))
        device, _ = await loop.sock_accept(listener)
    device.setblocking(False)
    return server, device


async def hears(sock: socket.socket, within: float = 10.0) -> bytes | None:
    try:
        async with asyncio.timeout(within):
            return await asyncio.get_running_loop().sock_recv(sock, 100)
    except TimeoutError:
        return None


async def cut_and_reset(lab: Any, address: str) -> None:
    """Silence one way and take it back, then a forged RST: what any board has to bear."""
    server, device = await pair(lab, address)
    with server, device:
        async with Air({BOARD: address}) as air:
            await air.ask(Capture(board=BOARD, seconds=30))
            done = await air.ask(Drop(board=BOARD, way="to_device", seconds=30))
            server.send(b"lost")
            assert await hears(device, 0.4) is None
            counts = await air.heal(done.effect)
            assert counts["to_device"] >= 1
            assert await hears(device) == b"lost"
            await air.ask(Forge(board=BOARD, flow=flow_of(server), what="rst"))
            with pytest.raises(ConnectionResetError):
                await hears(device)
            assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1


def behind_a_bridge(lab: Any) -> None:
    """The host's end of the veth becomes a port of a bridge, which has the address."""
    lab.sh("ip link add srbr type bridge")
    lab.sh(f"ip addr del {lab.own}/24 dev {lab.interface}")
    lab.sh(f"ip link set {lab.interface} master srbr")
    lab.sh(f"ip addr add {lab.own}/24 dev srbr")
    lab.sh("ip link set srbr up")


def behind_a_gateway(lab: Any) -> str:
    """An address inside the device's namespace that is reached by its other one."""
    with inside(lab.device_namespace):
        lab.sh("ip addr add 10.77.0.9/32 dev lo")
    lab.sh(f"ip route add 10.77.0.9/32 via {lab.device}")
    return "10.77.0.9"


def test_a_board_on_a_bridge_is_cut_and_reset_as_any_other(lab: Any) -> None:
    behind_a_bridge(lab)
    before = lab.traces()
    asyncio.run(cut_and_reset(lab, lab.device))
    assert lab.traces() == before


def test_a_board_behind_a_gateway_is_cut_and_reset_as_any_other(lab: Any) -> None:
    address = behind_a_gateway(lab)
    before = lab.traces()
    asyncio.run(cut_and_reset(lab, address))
    assert lab.traces() == before


def test_a_gateway_is_not_the_boards_to_be_taken_away(lab: Any) -> None:
    address = behind_a_gateway(lab)

    async def play() -> None:
        server, device = await pair(lab, address)
        with server, device:
            async with Air({BOARD: address}) as air:
                with pytest.raises(FaultError, match=f"behind the gateway {lab.device}"):
                    await air.ask(ArpHole(board=BOARD, seconds=5))
                with pytest.raises(FaultError, match="not on a link of its own"):
                    await air.ask(LinkDown(board=BOARD, seconds=5))

    asyncio.run(play())


def test_of_an_address_that_host_and_board_share_only_the_boards_port_is_touched(lab: Any) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as stranger:
            stranger.connect(other.getsockname())
            theirs, _ = other.accept()
            for sock in (stranger, theirs):
                sock.setblocking(False)
            with socket.create_server(("127.0.0.1", 0)) as board, socket.socket() as server:
                port = board.getsockname()[1]
                server.connect(("127.0.0.1", port))
                device, _ = board.accept()
                for sock in (server, device):
                    sock.setblocking(False)
                seen = []
                async with Air({BOARD: "127.0.0.1"}, ports={BOARD: port}) as air:
                    air.on_seen = seen.append
                    await air.ask(Capture(board=BOARD, seconds=30))
                    await air.ask(Drop(board=BOARD, seconds=30))
                    await air.ask(Rate(board=BOARD, kbit=8, seconds=30))
                    server.send(b"lost")
                    stranger.send(b"not the board's" * 1000)
                    got = 0
                    async with asyncio.timeout(5):
                        while got < 15_000:
                            got += len(await loop.sock_recv(theirs, 65536))
                    assert await hears(device, 0.3) is None
                    flow = Flow(stranger.getsockname()[1], other.getsockname()[1])
                    with pytest.raises(FaultError, match="is not kitchen's"):
                        await air.ask(Drop(board=BOARD, flow=flow, seconds=5))
                device.close()
                theirs.close()
            assert seen
            assert all(f":{port}" in s.source + s.destination for s in seen)

    before = lab.traces()
    asyncio.run(play())
    assert lab.traces() == before


def test_a_rst_is_believed_on_loopback_also_after_the_routes_have_changed(lab: Any) -> None:
    async def play() -> None:
        with socket.create_server(("127.9.0.1", 0)) as board, socket.socket() as server:
            port = board.getsockname()[1]
            server.connect(("127.9.0.1", port))
            device, _ = board.accept()
            with device:
                device.setblocking(False)
                async with Air({BOARD: "127.9.0.1"}, ports={BOARD: port}) as air:
                    await air.ask(Capture(board=BOARD, seconds=30))
                    lab.sh(f"ip route add 10.44.0.0/24 via {lab.device}")  # cached routes are void
                    await air.ask(Forge(board=BOARD, flow=flow_of(server), what="rst"))
                    with pytest.raises(ConnectionResetError):
                        await hears(device)
                    assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1

    asyncio.run(play())


def test_a_tunnel_has_no_link_addresses_and_is_refused(lab: Any) -> None:
    made = subprocess.run(
        ["ip", "tuntap", "add", "dev", "srtun", "mode", "tun"], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs /dev/net/tun")
    lab.sh("ip addr add 10.66.0.1/24 dev srtun")
    lab.sh("ip link set srtun up")
    with pytest.raises(FaultError, match="no Ethernet or WiFi interface"):
        Bounds([BoardAddress(BOARD, "10.66.0.2")]).way(BOARD)


def test_policy_routing_is_followed(lab: Any) -> None:
    lab.sh(f"ip route add 10.88.0.0/16 via {lab.device} table 77")
    lab.sh("ip rule add to 10.88.0.0/16 table 77")
    route = lookup("10.88.1.2")
    assert (route.gateway, route.own, route.local) == (lab.device, lab.own, False)


@pytest.mark.parametrize("address", ["10.55.0.255", "10.99.0.1"])
def test_a_broadcast_address_and_one_without_a_route_are_no_way(lab: Any, address: str) -> None:
    with pytest.raises(FaultError, match="no way from here"):
        Bounds([BoardAddress(BOARD, address)]).way(BOARD)


def test_a_network_that_only_the_default_route_leads_to_is_nobody_we_know(lab: Any) -> None:
    lab.sh(f"ip route add default via {lab.device}")
    with pytest.raises(FaultError, match="only the default route"):
        Bounds([BoardAddress(BOARD, "10.99.0.1")]).way(BOARD)


def test_a_board_whose_link_is_down_is_not_looked_for_elsewhere(lab: Any) -> None:
    lab.sh("ip link add other type veth peer name world")
    lab.sh("ip addr add 172.16.0.1/24 dev other")
    lab.sh("ip link set other up")
    lab.sh("ip route add 10.0.0.0/8 via 172.16.0.2")
    bounds = Bounds([BoardAddress(BOARD, lab.device)])
    assert bounds.way(BOARD).interface == lab.interface
    lab.sh(f"ip link set {lab.interface} down")
    with pytest.raises(FaultError, match="is another one now"):
        bounds.way(BOARD)
    lab.sh(f"ip link set {lab.interface} up")
    assert bounds.way(BOARD).interface == lab.interface


# -- links ------------------------------------------------------------------------------------


def carrier(lab: Any) -> bool:
    with inside(lab.device_namespace):
        return "NO-CARRIER" not in lab.sh(f"ip link show {LINK}")


def test_a_link_of_the_boards_own_goes_down_and_comes_back_whoever_made_it(lab: Any) -> None:
    lab.sh(f"ip link set {lab.interface} down")
    lab.sh(f"ip link set {lab.interface} name foreign0")
    lab.sh("ip link set foreign0 up")

    async def play() -> None:
        async with Air({BOARD: lab.device}) as air:
            done = await air.ask(LinkDown(board=BOARD, seconds=30))
            assert (await air.counts(done.effect or 0))["carrier"] == 0
            assert not carrier(lab)
            await air.heal(done.effect)
            assert carrier(lab)
            server, device = await pair(lab, DEVICE)
            server.close()
            device.close()

    before = lab.traces()
    asyncio.run(play())
    assert lab.traces() == before


@pytest.mark.parametrize(
    ("hand", "why"),
    [
        ("ip route add 10.44.0.0/24 via {device}", "the route to 10.44.0.0 would be lost"),
        ("ip addr add fd55::1/64 dev {interface} nodad", "its address fd55::1 would be lost"),
        (
            "ip neigh add 10.55.0.7 lladdr 02:00:00:00:00:07 dev {interface}",
            "10.55.0.7 is behind it too",
        ),
    ],
)
def test_a_link_with_something_of_the_users_on_it_stays_up(lab: Any, hand: str, why: str) -> None:
    lab.sh(hand.format(device=lab.device, interface=lab.interface))

    async def play() -> None:
        async with Air({BOARD: lab.device}) as air:
            with pytest.raises(FaultError, match=why):
                await air.ask(LinkDown(board=BOARD, seconds=30))

    before = lab.traces()
    asyncio.run(play())
    assert lab.traces() == before


def test_a_bridge_with_others_on_it_stays_up(lab: Any) -> None:
    behind_a_bridge(lab)

    async def play() -> None:
        async with Air({BOARD: lab.device}) as air:
            with pytest.raises(FaultError, match="others may be behind it"):
                await air.ask(LinkDown(board=BOARD, seconds=30))

    asyncio.run(play())
