"""The access point in the helper's hands: hostapd itself, without a radio, and its double."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.air.client import Air, Radio
from rig.air.healing import heal_leftovers
from rig.air.protocol import ChangeChannel, RadioOff, SendAway
from rig.air.radio import Hostapd
from rig.errors import FaultError

from .test_radio import HostapdDouble, known_mac

pytestmark = pytest.mark.root

BOARD = "kitchen"
CONF = """
interface=ap0
driver=wired
ctrl_interface={folder}
ieee8021x=1
eap_server=1
eap_user_file={users}
"""


@pytest.fixture
def hostapd(lab: Any, tmp_path: Path) -> Iterator[Path]:
    """A real hostapd on a wire: it has no radio, and the control socket of one that has."""
    program = shutil.which("hostapd", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip("needs hostapd")
    lab.sh("ip link add ap0 type veth peer name ap1")
    lab.sh("ip link set ap0 up")
    users, conf, folder = tmp_path / "users", tmp_path / "conf", tmp_path / "ctrl"
    users.write_text('* MD5 "x"\n')
    conf.write_text(CONF.format(folder=folder, users=users))
    with subprocess.Popen([program, str(conf)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "AP-ENABLED" not in (line := process.stdout.readline()):
            assert line, "hostapd did not start"
        yield folder / "ap0"
        process.terminate()


async def on(path: Path) -> bool:
    """What hostapd itself says."""
    async with Hostapd(path) as hostapd:
        return (await hostapd.state())[0]


def test_a_real_hostapd_goes_off_says_so_and_comes_back(lab: Any, hostapd: Path) -> None:
    async def play() -> None:
        async with Air({BOARD: lab.device}, radio=Radio(str(hostapd))) as air:
            done = await air.ask(RadioOff(board=BOARD, seconds=30))
            while (await air.counts(done.effect or 0)) != {"off": 1}:
                pass
            assert not await on(hostapd)
            await air.heal(done.effect)
            assert await on(hostapd)

    asyncio.run(play())


def test_an_access_point_that_a_killed_helper_left_off_is_put_on_again(
    lab: Any, hostapd: Path
) -> None:
    async def play() -> None:
        air = await Air({BOARD: lab.device}, radio=Radio(str(hostapd))).__aenter__()
        await air.ask(RadioOff(board=BOARD, seconds=30))
        assert air._process is not None
        os.kill(air.pid, signal.SIGKILL)
        await air._process.wait()

    asyncio.run(play())
    assert not asyncio.run(on(hostapd))
    assert heal_leftovers().healed == [f"access point {hostapd} was off"]
    assert asyncio.run(on(hostapd))


def test_one_that_the_user_has_switched_off_stays_off(lab: Any, hostapd: Path) -> None:
    async def play() -> None:
        async with Hostapd(hostapd) as own:
            await own.disable()
        async with Air({BOARD: lab.device}, radio=Radio(str(hostapd))) as air:
            with pytest.raises(FaultError, match="is off already"):
                await air.ask(RadioOff(board=BOARD, seconds=30))
        assert not await on(hostapd)

    asyncio.run(play())


def with_double(lab: Any, folder: Path, play: Callable[..., Any]) -> None:
    """Play with the double, whose only station is the lab's device."""

    async def run() -> None:
        double = HostapdDouble(folder / "wlan0")
        try:
            double.stations = [await known_mac(lab)]
            async with Air({BOARD: lab.device}, radio=Radio(str(folder / "wlan0"))) as air:
                await play(air, double)
        finally:
            double.close()

    asyncio.run(run())


@pytest.mark.parametrize("how", ["deauthenticate", "disassociate"])
def test_the_boards_own_station_is_sent_away_and_nobody_else(
    lab: Any, tmp_path: Path, how: Any
) -> None:
    async def play(air: Air, double: HostapdDouble) -> None:
        done = await air.ask(SendAway(board=BOARD, how=how, seconds=30))
        while not (await air.counts(done.effect or 0))["gone"]:
            pass
        sent = [each for each in double.heard if each.startswith(how.upper())]
        assert sent == [f"{how.upper()} {double.stations[0]} reason=7"]

    with_double(lab, tmp_path, play)


def test_a_board_that_is_no_station_is_sent_nowhere(lab: Any, tmp_path: Path) -> None:
    async def play(air: Air, double: HostapdDouble) -> None:
        double.stations = ["24:0a:c4:00:00:09"]
        with pytest.raises(FaultError, match="is no station of the access point"):
            await air.ask(SendAway(board=BOARD, seconds=30))

    with_double(lab, tmp_path, play)


def test_another_channel_is_announced_and_taken_back(lab: Any, tmp_path: Path) -> None:
    async def play(air: Air, double: HostapdDouble) -> None:
        done = await air.ask(ChangeChannel(board=BOARD, mhz=2462, seconds=30))
        assert double.mhz == 2462
        while not (await air.counts(done.effect or 0))["moved"]:
            pass
        await air.heal(done.effect)
        assert double.mhz == 2412

    with_double(lab, tmp_path, play)


def test_a_bench_without_an_access_point_says_what_it_would_need(lab: Any) -> None:
    async def play() -> None:
        async with Air({BOARD: lab.device}) as air:
            with pytest.raises(FaultError, match=r"names no hostapd\n  next: hostapd = "):
                await air.ask(RadioOff(board=BOARD, seconds=30))

    asyncio.run(play())
