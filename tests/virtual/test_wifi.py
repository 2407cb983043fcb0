from __future__ import annotations

import asyncio

import pytest

from rig.boards.virtual import wifi
from rig.boards.virtual.wifi import AccessPoint, Station

pytestmark = pytest.mark.anyio
MAC = bytes.fromhex("7edfa1010203")


class Air:
    """The path to the access point, under the test's hand."""

    address, kind, interface = "10.213.0.2", "double", None

    def __init__(self) -> None:
        self.air = True
        self.attached = False
        self.on_air = lambda: None

    def set(self, air: bool) -> None:
        self.air = air
        self.on_air()

    async def attach(self) -> None:
        self.attached = True

    async def detach(self) -> None:
        self.attached = False


class Credentials:
    """An NVS partition as ESP-IDF's WiFi leaves it."""

    def __init__(self, ssid: str, passphrase: str) -> None:
        name = ssid.encode()
        self._values = {
            "sta.ssid": len(name).to_bytes(4, "little") + name.ljust(32, b"\0"),
            "sta.pswd": passphrase.encode().ljust(65, b"\0"),
        }

    def get(self, namespace: str, key: str) -> bytes | None:
        return self._values.get(key) if namespace == "nvs.net80211" else None


class Bench:
    def __init__(self, ssid: str, passphrase: str) -> None:
        self.lines: list[str] = []
        self.changed = asyncio.Event()
        self.air, self.ap = Air(), AccessPoint()
        self.station = Station(self.air, self.ap, Credentials(ssid, passphrase), self.log)

    def log(self, level: str, tag: str, text: str) -> None:
        self.lines.append(f"{level} {tag}: {text}")
        self.changed.set()

    async def until(self, text: str, after: int = 0) -> None:
        async with asyncio.timeout(10):
            while not any(text in line for line in self.lines[after:]):
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(wifi, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(wifi, "BEACON_TIMEOUT", 0.05)


@pytest.fixture
async def good():
    bench = Bench("virtual-air", "only-a-model")
    assert await bench.station.join(MAC) == "10.213.0.2"
    watch = asyncio.create_task(bench.station.watch())
    yield bench
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_right_credentials_join_and_get_an_address(good):
    assert good.air.attached
    assert good.lines[-1].startswith("I esp_netif_handlers: sta ip: 10.213.0.2, mask: ")
    assert any("connected with virtual-air, aid = 1" in line for line in good.lines)


async def join_fails(bench: Bench, text: str) -> None:
    joining = asyncio.create_task(bench.station.join(MAC))
    await bench.until(text)
    assert not joining.done()
    assert not bench.air.attached
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)


async def test_a_wrong_pass_phrase_fails_in_the_handshake():
    bench = Bench("virtual-air", "wrong-one")
    await join_fails(bench, "reason 15 (4WAY_HANDSHAKE_TIMEOUT)")
    assert "I wifi: state: run -> init (0xfc0)" in bench.lines


async def test_an_unknown_network_is_not_found():
    bench = Bench("elsewhere", "only-a-model")
    await join_fails(bench, "disconnected from elsewhere, reason 201 (NO_AP_FOUND)")
    assert not any("auth" in line for line in bench.lines)


async def test_no_credentials_at_all_find_no_network():
    await join_fails(Bench("", ""), "(no SSID in NVS), reason 201")


async def test_silence_of_the_beacons_is_a_loss_and_the_station_comes_back(good):
    good.air.set(False)
    await good.until("state: run -> init (0xc800)")
    assert any("bcn_timeout,ap_probe_send_start" in line for line in good.lines)
    assert not good.air.attached
    before = len(good.lines)
    good.air.set(True)
    await good.until("sta ip: 10.213.0.2", before)
    assert good.air.attached


async def test_a_switched_off_access_point_says_good_bye(good):
    good.ap.on = False
    good.air.on_air()
    await good.until("state: run -> init (0x3c0)")
    assert not good.station.joined
    good.ap.on = True
    before = len(good.lines)
    good.air.on_air()
    await good.until("sta ip:", before)


async def test_a_short_silence_goes_unnoticed(monkeypatch):
    monkeypatch.setattr(wifi, "BEACON_TIMEOUT", 30)
    bench = Bench("virtual-air", "only-a-model")
    await bench.station.join(MAC)
    watch = asyncio.create_task(bench.station.watch())
    before = len(bench.lines)
    for air in (False, True):
        bench.air.set(air)
        for _ in range(5):
            await asyncio.sleep(0)
    assert bench.lines[before:] == []
    assert bench.air.attached
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_the_pass_phrase_is_never_logged(good):
    assert not any("only-a-model" in line for line in good.lines)
