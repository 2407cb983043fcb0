"""Capture and forged segments, on both sides of a real connection."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from rig.air import forge
from rig.air.bounds import Bounds
from rig.air.capture import Ear
from rig.air.client import Air
from rig.air.protocol import ArpHole, Ask, BoardAddress, Capture, Flow, Forge, Seen, SynFlood
from rig.errors import FaultError

pytestmark = pytest.mark.root

BOARD = "kitchen"
ESTABLISHED = 1


def flow_of(server: socket.socket) -> Flow:
    return Flow(server.getsockname()[1], server.getpeername()[1])


def state(sock: socket.socket) -> int:
    """The kernel's word on a socket (TCP_INFO's first byte): 1 is established."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


class Watch:
    """What the air saw, and waiting for it."""

    def __init__(self, air: Air) -> None:
        self.seen: list[Seen] = []
        self._wake = asyncio.Event()
        air.on_seen = self._take

    def _take(self, seen: Seen) -> None:
        self.seen.append(seen)
        self._wake.set()

    async def until(self, wanted: Any) -> Seen:
        async with asyncio.timeout(10):
            while True:
                for each in self.seen:
                    if wanted(each):
                        return each
                self._wake.clear()
                await self._wake.wait()
        raise AssertionError


async def received(sock: socket.socket) -> bytes:
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(sock, 4096)


@contextlib.asynccontextmanager
async def scene(lab: Any, *, folder: Path | None = None, talk: bool = True) -> Any:
    """A connection that has carried data both ways, under capture."""
    async with Air({BOARD: lab.device}, folder=folder) as air:
        watch = Watch(air)
        file = "air.pcap" if folder else None
        await air.ask(Capture(board=BOARD, file=file, seconds=60))
        server, device = await lab.connected()
        with server, device:
            if talk:
                server.send(b"hello device")
                assert await received(device) == b"hello device"
                device.send(b"hello server")
                assert await received(server) == b"hello server"
            yield air, watch, server, device


def test_a_capture_tells_segments_with_their_numbers_and_flags(lab: Any) -> None:
    async def play() -> None:
        async with scene(lab) as (_air, watch, server, _device):
            data = await watch.until(lambda s: s.length == 12 and s.source.endswith(":8928"))
            syn = await watch.until(lambda s: s.flags == "S")
            assert data.flags == "PA"
            assert data.destination == f"{lab.own}:{server.getsockname()[1]}"
            assert data.ack == (syn.seq + 13) % 2**32
            assert not data.retransmission

    asyncio.run(play())


def test_the_pcap_is_one_that_tcpdump_reads(lab: Any, tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(lab, folder=tmp_path) as (_air, watch, _server, _device):
            await watch.until(lambda s: s.length == 12 and s.source.endswith(":8928"))

    asyncio.run(play())
    lines = lab.sh(f"tcpdump -n -r {tmp_path / 'air.pcap'}").splitlines()
    assert sum("length 12" in line for line in lines) == 2
    assert any("Flags [S.]" in line for line in lines)


def test_a_capture_is_never_written_over_another_file(lab: Any, tmp_path: Path) -> None:
    (tmp_path / "air.pcap").write_text("precious")

    async def play() -> None:
        async with Air({BOARD: lab.device}, folder=tmp_path) as air:
            with pytest.raises(FaultError, match=r"cannot write the capture .*File exists"):
                await air.ask(Capture(board=BOARD, file="air.pcap", seconds=5))

    asyncio.run(play())
    assert (tmp_path / "air.pcap").read_text() == "precious"


def test_a_forged_rst_closes_the_devices_side_while_the_servers_stays_open(
    lab: Any, tcpdump: Any
) -> None:
    async def play() -> int:
        tcpdump.start()
        async with scene(lab) as (air, watch, server, device):
            done = await air.ask(Forge(board=BOARD, flow=flow_of(server), what="rst"))
            with pytest.raises(ConnectionResetError):
                await received(device)
            assert state(server) == ESTABLISHED
            mine = await watch.until(lambda s: s.flags == "RA")
            assert mine.forged
            assert mine.seq == done.counts["seq"]
            return mine.seq

    seq = asyncio.run(play())
    resets = [line for line in tcpdump.packets() if "Flags [R" in line and f"seq {seq}" in line]
    assert len(resets) == 1


def test_a_device_that_believes_says_so_when_asked_and_the_server_does_not_hear(
    lab: Any, tcpdump: Any
) -> None:
    async def play() -> None:
        tcpdump.start()
        async with scene(lab) as (air, _watch, server, device):
            flow = flow_of(server)
            before = (await air.ask(Ask(board=BOARD, flow=flow))).counts
            await air.ask(Forge(board=BOARD, flow=flow, what="rst"))
            with pytest.raises(ConnectionResetError):
                await received(device)
            after = (await air.ask(Ask(board=BOARD, flow=flow))).counts
            assert (before, after) == ({"answered": 1, "reset": 0}, {"answered": 1, "reset": 1})
            assert state(server) == ESTABLISHED

    before = lab.traces()
    asyncio.run(play())
    answers = [line for line in tcpdump.packets() if "10.55.0.2.8928 >" in line]
    assert any("Flags [R" in line for line in answers), "tcpdump saw no RST of the device's"
    assert lab.traces() == before


def test_a_forged_number_is_right_though_the_segment_takes_long_to_build(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        server, device = await lab.connected()
        ear = Ear(Bounds([BoardAddress(BOARD, lab.device)]).way(BOARD))
        build, slow = forge.packet, [3]

        def dawdle(made: forge.Plan) -> bytes:
            """While the segment is built, the connection goes on: three times."""
            if slow[0]:
                slow[0] -= 1
                server.send(b"meanwhile")
                select.select([device], [], [], 5)
                device.recv(100)
            return build(made)

        monkeypatch.setattr(forge, "packet", dawdle)
        try:
            server.send(b"begin")
            assert await loop.sock_recv(device, 100) == b"begin"
            await forge.forge(ear, flow_of(server), "rst", "device")
            with pytest.raises(ConnectionResetError):
                await received(device)
        finally:
            ear.close()
            server.close()
            device.close()

    asyncio.run(play())


def test_a_forged_fin_ends_only_the_devices_receiving(lab: Any) -> None:
    async def play() -> None:
        async with scene(lab) as (air, _watch, server, device):
            await air.ask(Forge(board=BOARD, flow=flow_of(server), what="fin"))
            assert await received(device) == b""
            assert state(server) == ESTABLISHED

    asyncio.run(play())


def test_a_rst_forged_to_the_server_leaves_the_device_believing(lab: Any) -> None:
    async def play() -> None:
        async with scene(lab) as (air, _watch, server, device):
            await air.ask(Forge(board=BOARD, flow=flow_of(server), what="rst", to="server"))
            with pytest.raises(ConnectionResetError):
                await received(server)
            assert state(device) == ESTABLISHED

    asyncio.run(play())


def test_a_connection_that_was_silent_all_the_while_gives_its_numbers_when_asked(lab: Any) -> None:
    async def play() -> None:
        server, device = await lab.connected()  # before anything listens
        with server, device:
            async with Air({BOARD: lab.device}) as air:
                await air.ask(Forge(board=BOARD, flow=flow_of(server), what="rst"))
                with pytest.raises(ConnectionResetError):
                    await received(device)
                assert state(server) == ESTABLISHED

    asyncio.run(play())


def test_a_connection_that_does_not_exist_cannot_be_forged(lab: Any) -> None:
    async def play() -> None:
        server, device = await lab.connected()
        server.close()
        device.close()
        async with Air({BOARD: lab.device}) as air:
            with pytest.raises(FaultError, match="is silent"):
                await air.ask(Forge(board=BOARD, flow=Flow(40001, 8928), what="rst"))

    asyncio.run(play())


@pytest.mark.parametrize("what", ["duplicate", "out-of-window", "syn"])
def test_a_segment_that_says_nothing_new_harms_no_sound_tcp(lab: Any, what: Any) -> None:
    async def play() -> None:
        async with scene(lab) as (air, watch, server, device):
            done = await air.ask(Forge(board=BOARD, flow=flow_of(server), what=what))
            forged = await watch.until(lambda s: s.forged)
            assert forged.seq == done.counts["seq"]
            if what == "duplicate":
                assert forged.retransmission
            server.send(b"still here")
            assert await received(device) == b"still here"

    asyncio.run(play())


def test_a_flood_opens_connections_half_and_no_more_than_it_said(lab: Any) -> None:
    async def play() -> None:
        listener = lab.listen()
        with listener:
            async with Air({BOARD: lab.device}) as air:
                await lab_neighbour(lab, listener)
                watch = Watch(air)
                await air.ask(Capture(board=BOARD, seconds=30))
                done = await air.ask(
                    SynFlood(board=BOARD, port=8928, count=8, per_second=50, seconds=30)
                )
                syns: set[str] = set()
                await watch.until(
                    lambda s: s.flags == "S" and (syns.add(s.source) or len(syns) == 8)
                )
                answers: set[str] = set()
                await watch.until(
                    lambda s: s.flags == "SA" and (answers.add(s.destination) or len(answers) == 8)
                )
                counts = await air.counts(done.effect or 0)
            assert counts["sent"] == 8
            assert counts["answered"] == 8
            assert not [s for s in watch.seen if "R" in s.flags], "this host reset what it flooded"

    asyncio.run(play())


async def lab_neighbour(lab: Any, listener: socket.socket) -> None:
    """Let the host learn the device's link address, as any connection before would."""
    loop = asyncio.get_running_loop()
    with socket.socket() as first:
        first.setblocking(False)
        await loop.sock_connect(first, (lab.device, lab.port))
        taken, _ = await loop.sock_accept(listener)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        taken.close()


def test_a_device_in_an_arp_hole_talks_to_nobody_until_it_is_healed(lab: Any) -> None:
    async def play() -> None:
        async with scene(lab) as (air, _watch, server, device):
            # Linux takes an unasked answer for an entry that is older than a second (locktime).
            done = await air.ask(ArpHole(board=BOARD, seconds=30))
            counts = {"to_server": 0}
            async with asyncio.timeout(10):
                while counts["to_server"] == 0:
                    device.send(b"x")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.3):
                            await asyncio.get_running_loop().sock_recv(server, 100)
                    counts = await air.counts(done.effect or 0)
            await air.heal(done.effect)
            while True:  # what got lost is sent again, to the right address now
                if (await received(server)).endswith(b"x"):
                    break

    asyncio.run(play())
