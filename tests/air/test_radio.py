from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rig.air.client import Air, Radio
from rig.air.protocol import Deauth
from rig.air.radio import Hostapd, Hotspot
from rig.errors import FaultError

STATION = "24:0a:c4:00:00:01"


class HostapdDouble:
    """A mock of hostapd's control socket: answers as documented, keeps what it heard."""

    def __init__(self, path: Path) -> None:
        self.heard: list[str] = []
        self.stations = [STATION, "24:0a:c4:00:00:02"]
        self.on, self.mhz = True, 2412
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._client = ""
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        data, self._client = self._socket.recvfrom(4096)
        command = data.decode()
        self.heard.append(command)
        self._socket.sendto(self._answer(command).encode(), self._client)
        word, *rest = command.split()
        if word in ("DEAUTHENTICATE", "DISASSOCIATE"):
            self._socket.sendto(f"<3>AP-STA-DISCONNECTED {rest[0]}".encode(), self._client)
        if word == "CHAN_SWITCH" and rest[1] != "5180":
            self._socket.sendto(f"<3>AP-CSA-FINISHED freq={rest[1]} dfs=0".encode(), self._client)

    def _answer(self, command: str) -> str:
        word, *rest = command.split()
        if word == "PING":
            return "PONG\n"
        if word == "STATUS":
            return f"state={'ENABLED' if self.on else 'DISABLED'}\nphy=phy0\nfreq={self.mhz}\n"
        if word in ("ENABLE", "DISABLE"):
            self.on = word == "ENABLE"
        if word == "STA-FIRST":
            return f"{self.stations[0]}\nflags=[AUTH][ASSOC]\n"
        if word == "STA-NEXT":
            after = self.stations[self.stations.index(rest[0]) + 1 :]
            return f"{after[0]}\nflags=[AUTH]\n" if after else ""
        if word == "CHAN_SWITCH" and rest[1] == "5180":
            return "FAIL\n"
        if word == "CHAN_SWITCH":
            self.mhz = int(rest[1])
        return "OK\n"

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@contextlib.asynccontextmanager
async def hostapd(folder: Path) -> AsyncIterator[tuple[Hostapd, HostapdDouble]]:
    double = HostapdDouble(folder / "wlan0")
    try:
        async with Hostapd(folder / "wlan0") as client:
            yield client, double
    finally:
        double.close()


def test_every_command_is_spelled_as_hostapd_reads_it(tmp_path: Path) -> None:
    async def play() -> list[str]:
        async with hostapd(tmp_path) as (client, double):
            await client.deauthenticate(STATION)
            await client.disassociate(STATION.upper())
            await client.disable()
            await client.enable()
            await client.switch_channel(2437)
            return double.heard[2:]

    assert asyncio.run(play()) == [
        f"DEAUTHENTICATE {STATION} reason=7",
        f"DISASSOCIATE {STATION} reason=8",
        "DISABLE",
        "ENABLE",
        "CHAN_SWITCH 5 2437",
    ]


def test_the_access_points_own_word_says_that_a_station_left(tmp_path: Path) -> None:
    async def play() -> bool:
        async with hostapd(tmp_path) as (client, _double):
            await client.deauthenticate(STATION)
            return await client.left(STATION, 5)

    assert asyncio.run(play())


def test_nobody_left_when_nobody_was_sent_away(tmp_path: Path) -> None:
    async def play() -> bool:
        async with hostapd(tmp_path) as (client, _double):
            return await client.left(STATION, 0.05)

    assert not asyncio.run(play())


def test_the_stations_are_listed(tmp_path: Path) -> None:
    async def play() -> list[str]:
        async with hostapd(tmp_path) as (client, _double):
            return await client.stations()

    assert asyncio.run(play()) == [STATION, "24:0a:c4:00:00:02"]


def test_what_hostapd_refuses_is_an_error(tmp_path: Path) -> None:
    async def play() -> None:
        async with hostapd(tmp_path) as (client, _double):
            await client.switch_channel(5180)

    with pytest.raises(FaultError, match="hostapd refused CHAN_SWITCH: FAIL"):
        asyncio.run(play())


@pytest.mark.parametrize("text", ["", "24:0a:c4:00:00", f"{STATION} tx=1", f"{STATION}\nDISABLE"])
def test_what_is_no_link_address_reaches_no_socket(tmp_path: Path, text: str) -> None:
    async def play() -> None:
        async with hostapd(tmp_path) as (client, _double):
            await client.deauthenticate(text)

    with pytest.raises(FaultError, match="is no link address"):
        asyncio.run(play())


def test_no_hostapd_is_said_so(tmp_path: Path) -> None:
    async def play() -> None:
        async with Hostapd(tmp_path / "wlan9"):
            pass

    with pytest.raises(FaultError, match=r"no hostapd answers at .*wlan9"):
        asyncio.run(play())


def test_a_hotspot_goes_down_and_up_by_nmcli(tmp_path: Path) -> None:
    double = tmp_path / "nmcli"  # a mock of nmcli: it writes down how it was called
    double.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    double.chmod(0o755)

    async def play() -> None:
        hotspot = Hotspot("bench air", command=(str(double),))
        await hotspot.disable()
        await hotspot.enable()

    asyncio.run(play())
    assert (tmp_path / "calls").read_text().splitlines() == [
        "--wait 20 connection down id bench air",
        "--wait 20 connection up id bench air",
    ]


def test_a_hotspot_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="cannot be run"):
        asyncio.run(Hotspot("x", command=(str(tmp_path / "none"),)).disable())


FRAME = bytes.fromhex(
    "c000"  # frame control: management, subtype 12
    "0000"  # duration
    "240ac4000001"  # address 1: the station
    "020000000001"  # address 2: the access point
    "020000000001"  # address 3: its BSSID
    "0000"  # sequence control
    "0700"  # reason 7, little-endian
)
"""A deauthentication frame by the standard's own layout (IEEE 802.11-2020, 9.3.3.12)."""


def test_a_deauthentication_frame_is_the_standards_to_the_byte() -> None:
    code = (
        "import sys; from rig.air.radio import deauthentication\n"
        f"data = deauthentication('{STATION}', '02:00:00:00:00:01', 7)\n"
        "sys.stdout.write(data[int.from_bytes(data[2:4], 'little'):].hex())"
    )  # in a process of its own: scapy is never imported into the rig's
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert bytes.fromhex(done.stdout) == FRAME


async def known_mac(lab: Any) -> str:
    server, device = await lab.connected()
    server.close()
    device.close()
    return lab.sh(f"ip neigh show {lab.device}").split()[4]


@pytest.mark.root
def test_a_monitor_interface_that_the_bench_does_not_name_is_refused(lab: Any) -> None:
    async def play() -> None:
        mac = await known_mac(lab)
        async with Air({"kitchen": lab.device}) as air:
            with pytest.raises(FaultError, match="no monitor interface of this bench"):
                await air.ask(
                    Deauth(
                        board="kitchen",
                        interface=lab.interface,
                        station=mac,
                        bssid="02:00:00:00:00:01",
                    )
                )

    asyncio.run(play())


@pytest.mark.root
def test_a_station_that_is_not_the_board_is_refused(lab: Any) -> None:
    async def play() -> None:
        await known_mac(lab)
        async with Air({"kitchen": lab.device}, radio=Radio(monitors=(lab.interface,))) as air:
            with pytest.raises(FaultError, match="is not kitchen"):
                await air.ask(
                    Deauth(
                        board="kitchen",
                        interface=lab.interface,
                        station=STATION,
                        bssid="02:00:00:00:00:01",
                    )
                )

    asyncio.run(play())


@pytest.mark.root
def test_the_frames_leave_by_the_interface_that_was_named(lab: Any) -> None:
    async def play() -> int:
        mac = await known_mac(lab)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as listener:
            listener.bind((lab.interface, 3))
            listener.setblocking(False)
            async with Air({"kitchen": lab.device}, radio=Radio(monitors=(lab.interface,))) as air:
                await air.ask(
                    Deauth(
                        board="kitchen",
                        interface=lab.interface,
                        station=mac,
                        bssid="02:00:00:00:00:01",
                        count=3,
                    )
                )
            station = bytes.fromhex(mac.replace(":", ""))
            wanted = FRAME.replace(bytes.fromhex("240ac4000001"), station)
            frames = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    frames.append(listener.recv(2048))
            return sum(wanted in frame for frame in frames)

    assert asyncio.run(play()) == 3
