"""The WiFi station: joins the model's access point, loses it, comes back; logs as ESP-IDF does.

Codes in `wifi:state:` lines are the reason in the high byte and the frame that brought it in the
low one (ESP-IDF 5.5, `wifi_err_reason_t`; 0xb0 auth, 0xc0 deauth, 0x00 none).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rig.boards.virtual.net import Network
from rig.boards.virtual.nvs import Nvs

BEACON_TIMEOUT = 6.0
"""Seconds of silence until a station gives its access point up (`esp_wifi_set_inactive_time`)."""
RETRY_SECONDS = 1.0
"""Between two tries to join."""
BSSID = "02:73:72:69:67:01"
_DEAUTH_LEAVING, _HANDSHAKE_TIMEOUT, _BEACON_LOST, _NO_AP_FOUND = 3, 15, 200, 201
_REASONS = {
    _DEAUTH_LEAVING: "AUTH_LEAVE",
    _HANDSHAKE_TIMEOUT: "4WAY_HANDSHAKE_TIMEOUT",
    _BEACON_LOST: "BEACON_TIMEOUT",
    _NO_AP_FOUND: "NO_AP_FOUND",
}


@dataclass(slots=True)
class AccessPoint:
    """The model's access point: what it is called, what it accepts, whether it is switched on."""

    ssid: str = "virtual-air"
    passphrase: str = "only-a-model"
    on: bool = True


def _credential(nvs: Nvs, key: str, *, counted: bool) -> str:
    """A string that ESP-IDF's WiFi keeps as a blob; the SSID's begins with its length (u32)."""
    value = nvs.get("nvs.net80211", key)
    if not isinstance(value, bytes):
        return ""
    if counted:
        value = value[4:][: int.from_bytes(value[:4], "little")]
    return value.split(b"\0")[0].decode("utf-8", "replace")


class Station:
    """One boot's station. `join` once; loss and return are then handled until `stop`."""

    def __init__(
        self,
        network: Network,
        access_point: AccessPoint,
        nvs: Nvs,
        log: Callable[[str, str, str], None],
    ) -> None:
        """`log` takes level, tag and text."""
        self._network = network
        self._ap = access_point
        self._log = log
        self._ssid = _credential(nvs, "sta.ssid", counted=True)
        self._passphrase = _credential(nvs, "sta.pswd", counted=False)
        self._changed = asyncio.Event()
        self.joined = False
        network.on_air = self._changed.set

    async def join(self, mac: bytes) -> str:
        """Log the start, then try until there is an address; return that."""
        self._log("I", "wifi", f"mode : sta ({mac.hex(':')})")
        self._log("I", "wifi", "enable tsf")
        await self._associate()
        return self._network.address

    async def watch(self) -> None:
        """After `join`: notice loss, log it, join again. Runs for ever."""
        while True:
            await self._change()
            if not self._ap.on:
                await self._lose(_DEAUTH_LEAVING, 0xC0)
                await self._associate()
            elif not self._network.air and not await self._returns(BEACON_TIMEOUT):
                self._log("I", "wifi", "bcn_timeout,ap_probe_send_start")
                self._log("I", "wifi", "ap_probe_send over, resett wifi status to disassoc")
                await self._lose(_BEACON_LOST, 0)
                await self._associate()

    async def _change(self, seconds: float | None = None) -> bool:
        """Wait until something changes; False: nothing did within `seconds`."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    async def _returns(self, seconds: float) -> bool:
        """Whether the path is back before `seconds` are over."""
        try:
            async with asyncio.timeout(seconds):
                while not (self._network.air and self._ap.on):
                    await self._change()
        except TimeoutError:
            return False
        return True

    async def _lose(self, reason: int, frame: int) -> None:
        self.joined = False
        await self._network.detach()
        self._state("run", "init", reason << 8 | frame)
        self._log("I", "wifi", "new:<6,0>, old:<6,0>, ap:<255,255>, sta:<6,0>, prof:1")
        self._gave_up(reason)

    async def _associate(self) -> None:
        while not await self._try():
            await self._change(RETRY_SECONDS)
        await self._network.attach()
        self.joined = True
        address = self._network.address
        gateway = address.rpartition(".")[0] + f".{int(address.rpartition('.')[2]) - 1}"
        where = f"ip: {address}, mask: 255.255.255.252, gw: {gateway}"
        self._log("I", "esp_netif_handlers", f"sta {where}")

    async def _try(self) -> bool:
        heard = self._ap.on and self._network.air and self._ssid == self._ap.ssid
        if not self._ssid or not heard:
            self._gave_up(_NO_AP_FOUND)
            return False
        self._log("I", "wifi", "new:<6,0>, old:<1,0>, ap:<255,255>, sta:<6,0>, prof:1")
        self._state("init", "auth", 0xB0)
        self._state("auth", "assoc", 0x00)
        self._state("assoc", "run", 0x10)
        await asyncio.sleep(0.02)
        if self._passphrase != self._ap.passphrase:
            self._state("run", "init", _HANDSHAKE_TIMEOUT << 8 | 0xC0)
            self._gave_up(_HANDSHAKE_TIMEOUT)
            return False
        where = f"aid = 1, channel 6, BW20, bssid = {BSSID}"
        self._log("I", "wifi", f"connected with {self._ssid}, {where}")
        self._log("I", "wifi", "security: WPA2-PSK, phy: bgn, rssi: -42")
        self._log("I", "wifi", "pm start, type: 1")
        return True

    def _state(self, old: str, new: str, code: int) -> None:
        self._log("I", "wifi", f"state: {old} -> {new} ({code:#x})")

    def _gave_up(self, reason: int) -> None:
        name = self._ssid or "(no SSID in NVS)"
        text = f"disconnected from {name}, reason {reason} ({_REASONS[reason]}), trying again"
        self._log("W", "wifi_sta", text)
