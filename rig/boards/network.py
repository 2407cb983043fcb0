"""The WiFi network of a bench: its name, and where its pass-phrase comes from. Never the phrase."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from rig.boards.power import Power
from rig.errors import BenchError

INLINE = ("passphrase", "password", "psk", "pass", "key", "secret")
"""Keys that would put a secret into the bench file; refused."""


class Secret(str):
    """A string whose `repr` does not show it: what a test's report says of local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True)
class Network:
    """The `[network]` table."""

    ssid: str
    passphrase_env: str | None = None
    """Name of an environment variable."""
    passphrase_file: Path | None = None
    """A file that holds it, and nothing else but a line end."""
    hostapd: Path | None = None
    """hostapd's control socket of the access point's interface, such as `/run/hostapd/wlan0`."""
    hotspot: str | None = None
    """The NetworkManager connection that is the access point, where hostapd is not used."""
    monitors: tuple[str, ...] = ()
    """Monitor interfaces that 802.11 frames may be sent on."""
    bssid: str | None = None
    """The access point's link address, where hostapd is not there to say it."""
    power: Power | None = None
    """How the access point's supply is switched."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.ssid.encode()) <= 32:
            raise BenchError("ssid: expected 1 to 32 bytes", hint="the network's name")
        if self.passphrase_env and self.passphrase_file:
            raise BenchError("passphrase_file: contradicts passphrase_env", hint="one of the two")
        if self.hostapd and self.hotspot:
            raise BenchError("hotspot: contradicts hostapd", hint="one of the two")
        if self.hostapd and not self.hostapd.is_absolute():
            raise BenchError("hostapd: expected a path from / on", hint="/run/hostapd/wlan0")
        if self.hotspot is not None and not re.fullmatch(r"\w[^\0-\x1f]{0,63}", self.hotspot):
            raise BenchError("hotspot: expected the name of a connection", hint="nmcli connection")
        if self.bssid is not None and not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", self.bssid):
            raise BenchError("bssid: expected a link address", hint="02:00:00:00:00:01")
        if any(not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", name) for name in self.monitors):
            raise BenchError("monitors: expected names of interfaces", hint='["wlan1mon"]')

    def passphrase(self) -> str:
        """The pass-phrase, empty for an open network. Raises `BenchError`, which never shows it."""
        if self.passphrase_env:
            phrase, where = os.environ.get(self.passphrase_env), f"${self.passphrase_env}"
        elif self.passphrase_file:
            phrase, where = self._read(self.passphrase_file), str(self.passphrase_file)
        else:
            return ""
        if phrase is None:
            raise BenchError(
                f"the WiFi pass-phrase is not in {where}",
                hint=f"export {self.passphrase_env}=..., as a secret of the CI runner or by hand",
            )
        phrase = Secret(phrase)
        size = len(phrase.encode(errors="surrogateescape"))
        if not 8 <= size <= 64:
            raise BenchError(
                f"the WiFi pass-phrase in {where} has {size} bytes",
                hint="WPA takes 8 to 63, or 64 hexadecimal digits",
            )
        if any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in phrase):
            raise BenchError(
                f"the WiFi pass-phrase in {where} holds a control character, or is no UTF-8",
                hint='set it without a line end: export NAME="$(cat FILE)"',
            )
        return phrase

    @staticmethod
    def _read(path: Path) -> str:
        try:
            with path.open(encoding="utf-8") as file:
                return file.read(1_000).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no UTF-8 text"
            raise BenchError(
                f"the WiFi pass-phrase file {path}: {why}",
                hint="write the pass-phrase into it, or name the right one as passphrase_file",
            ) from error
