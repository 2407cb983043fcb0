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

from rig.air import access_point, iw, tools
from rig.air.client import Air, Radio
from rig.air.effects import Effects
from rig.air.journal import Journal, Transmitter
from rig.air.netfilter import Tables
from rig.air.protocol import Begin, Deauth, TxPower
from rig.air.radio import Hostapd, Hotspot
from rig.air.traffic import Shaper
from rig.errors import FaultError
from rig.faults.air_fault import AIR_FAULTS
from rig.faults.registry import all_faults

all_faults()  # they declare themselves when they are loaded

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
    double.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncase $1 in -g) echo ap;; esac\n')
    double.chmod(0o755)

    async def play() -> None:
        hotspot = Hotspot("bench air", command=(str(double),))
        await hotspot.disable()
        await hotspot.enable()

    asyncio.run(play())
    assert (tmp_path / "calls").read_text().splitlines() == [
        "-g 802-11-wireless.mode connection show id bench air",
        "--wait 20 connection down id bench air",
        "-g 802-11-wireless.mode connection show id bench air",
        "--wait 20 connection up id bench air",
    ]


@pytest.mark.parametrize("mode", ["infrastructure", ""])
def test_a_connection_that_is_no_hotspot_is_left_alone(tmp_path: Path, mode: str) -> None:
    double = tmp_path / "nmcli"  # a mock of nmcli: this host's own way to the network, or a VPN
    double.write_text(
        f'#!/bin/sh\ncase $1 in -g) echo "{mode}";; *) echo "$@" >> {tmp_path}/calls;; esac\n'
    )
    double.chmod(0o755)
    with pytest.raises(FaultError, match="no hotspot of NetworkManager's"):
        asyncio.run(Hotspot("office", command=(str(double),)).disable())
    with pytest.raises(FaultError, match="no hotspot of NetworkManager's"):
        asyncio.run(Hotspot("office", command=(str(double),)).enable())
    assert not (tmp_path / "calls").exists()


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


FAKE_BSSID = "02:00:00:00:00:01"


def sent_frames(lab: Any, radio: Radio, command: Deauth, wanted: int) -> list[bytes]:
    """What leaves by the lab's veth, which is a mock of a monitor interface here."""

    async def play() -> list[bytes]:
        await known_mac(lab)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as listener:
            listener.bind((lab.interface, 3))
            listener.setblocking(False)
            async with Air({"kitchen": lab.device}, radio=radio) as air:
                done = await air.ask(command)
                while (await air.counts(done.effect or 0))["sent"] < wanted:
                    pass
            frames = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    frames.append(listener.recv(2048))
            return frames

    return asyncio.run(play())


@pytest.mark.root
@pytest.mark.parametrize("asked", ["eth0", None])
def test_a_monitor_interface_that_the_bench_does_not_name_is_refused(
    lab: Any, asked: str | None
) -> None:
    with pytest.raises(FaultError, match="no monitor interface of this bench"):
        sent_frames(lab, Radio(), Deauth(board="kitchen", interface=asked, seconds=9), 1)


@pytest.mark.root
def test_frames_in_nobodys_name_are_not_sent(lab: Any) -> None:
    with pytest.raises(FaultError, match="link address is not known"):
        sent_frames(lab, Radio(monitors=(lab.interface,)), Deauth(board="kitchen", seconds=9), 1)


@pytest.mark.root
def test_the_frames_leave_by_the_interface_that_was_named_for_the_board_alone(lab: Any) -> None:
    radio = Radio(monitors=(lab.interface,), bssid=FAKE_BSSID)
    command = Deauth(board="kitchen", interface=lab.interface, count=3, seconds=9)
    frames = sent_frames(lab, radio, command, 3)
    mac = lab.sh(f"ip neigh show {lab.device}").split()[4]
    wanted = FRAME.replace(bytes.fromhex("240ac4000001"), bytes.fromhex(mac.replace(":", "")))
    assert sum(wanted in frame for frame in frames) == 3


# -- the power that is sent with ---------------------------------------------------------------


@pytest.fixture
def iw_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mock of iw(8): keeps a power (20.00 dBm is `auto`), and says it as the real one does."""
    double = tmp_path / "iw"
    double.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$*" in
  *info) printf 'Interface lo\n\ttype AP\n\ttxpower %s dBm\n' "$(cat {tmp_path}/power)" ;;
  *auto) echo 20.00 > {tmp_path}/power ;;
  *fixed*) [ -e {tmp_path}/deaf ] || echo "$6" | sed 's/..$/.&/' > {tmp_path}/power ;;
esac
"""
    )
    double.chmod(0o755)
    (tmp_path / "power").write_text("20.00")
    monkeypatch.setattr(iw, "IW", str(double))
    return tmp_path


def quieter(folder: Path, dbm: float) -> tuple[str, list[dict[str, int]], list[str]]:
    """The note, the counts, and how iw was called, of a step down and back up."""

    async def play() -> tuple[str, list[dict[str, int]]]:
        double = HostapdDouble(folder / "lo")
        shaper = Shaper()
        try:
            async with Tables() as tables:
                with Journal(folder / "journal", "abcd") as live:
                    effects = Effects("abcd", live, tables, shaper)
                    effect = effects.new()
                    begin = Begin(run="abcd", journal="", boards=(), hostapd=str(folder / "lo"))
                    command = TxPower(board="kitchen", dbm=dbm, seconds=9)
                    try:
                        note = await access_point.quieter(begin, command, effects, effect)
                    finally:
                        counts = [await effects.end(effect)]
                    return note, counts
        finally:
            double.close()
            shaper.close()

    note, counts = asyncio.run(play())
    return note, counts, (folder / "calls").read_text().splitlines()


def test_less_power_is_iws_own_word_and_is_taken_back(iw_double: Path) -> None:
    note, counts, calls = quieter(iw_double, 3.5)
    assert note == "from 20 to 3.5 dBm"
    assert counts == [{"softer": 1650}]
    assert "dev lo set txpower fixed 350" in calls
    assert calls[-2:] == ["dev lo set txpower auto", "dev lo info"]
    assert (iw_double / "power").read_text() == "20.00\n"


def test_a_power_that_was_fixed_before_is_fixed_again(iw_double: Path) -> None:
    (iw_double / "power").write_text("12.00")
    _, _, calls = quieter(iw_double, 1)
    assert calls[-1] == "dev lo set txpower fixed 1200"


def test_a_driver_that_takes_no_orders_is_not_called_quieter(iw_double: Path) -> None:
    (iw_double / "deaf").touch()
    _, counts, _ = quieter(iw_double, 1)
    assert counts == [{"softer": 0}]
    assert AIR_FAULTS["tx-power"].proven(counts[0]) is None


def test_what_is_no_less_is_refused(iw_double: Path) -> None:
    with pytest.raises(FaultError, match="20 dBm: 25 dBm is no less"):
        quieter(iw_double, 25)


def test_a_killed_helpers_power_is_put_back(iw_double: Path) -> None:
    (iw_double / "power").write_text("3.00")
    assert asyncio.run(iw.put_back(Transmitter("lo", 2000)))
    assert not asyncio.run(iw.put_back(Transmitter("lo", 2000)))
    assert not asyncio.run(iw.put_back(Transmitter("srignone", 2000)))


def test_the_helpers_programs_are_the_systems_and_hear_nothing_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").write_text("#!/bin/sh\necho not this one\n")
    (tmp_path / "env").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LD_PRELOAD", "/nowhere.so")
    said = asyncio.run(tools.run(["env"], hint="none"))
    assert sorted(said.split()) == ["LC_ALL=C", f"PATH={tools.FOLDERS}"]


@pytest.mark.parametrize(
    ("line", "proves"),
    [
        ("I (5120) wifi:state: run -> init (0x7c0)", True),
        ("I (5120) wifi:state: init -> auth (0xb0)", False),
    ],
)
def test_the_boards_own_log_says_that_it_left(line: str, proves: bool) -> None:
    fault = AIR_FAULTS["deauth-frames"]
    assert fault.told is not None
    assert fault.told(line) is proves
    assert fault.proven({"sent": 8}) is None  # sent is not believed
    assert fault.proven({"sent": 8, "gone": 0, "back": 1})
