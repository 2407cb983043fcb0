"""How a firmware keeps its WiFi credentials in NVS: ESP-IDF's own way, or keys of its own.

ESP-IDF's WiFi is closed; what is known of its namespace `nvs.net80211`: names and sizes from
`test_nvs.cpp` of ESP-IDF (`sta.ssid` 36 bytes, `sta.pswd` 65), and dumps of boards, in which the
SSID stands behind its length (u32). Blobs that are there already keep their size. What the driver
derived from the former network (its PMK, channel, access point) is taken out: it makes them anew,
as on its first boot. Whether it uses them at all is up to the application (`WIFI_STORAGE_FLASH`,
and no `esp_wifi_set_config` of its own).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rig.boards.nvs_partition import MAX_KEY, Contents, Name, Value, blob, string
from rig.errors import BenchError

IDF_NAMESPACE = "nvs.net80211"
_SSID, _PASSPHRASE = "sta.ssid", "sta.pswd"
_DERIVED = ("sta.pmk", "sta.pmk_info", "sta.chan", "sta.bssid", "bssid.set", "sta.apinfo")
WAYS = ("nvs", "improv")


@dataclass(frozen=True, slots=True)
class Provision:
    """The `[boards.NAME.provision]` table: how this board gets its WiFi credentials."""

    by: str = "nvs"
    """`nvs`: into its flash; `improv`: by the Improv protocol over its console (ESPHome)."""
    partition: str = "nvs"
    namespace: str = IDF_NAMESPACE
    ssid_key: str = "ssid"
    passphrase_key: str = "password"
    """Names of the two strings, in a namespace of the firmware's own."""
    table_offset: int = 0x8000

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise BenchError(f"by: no way to provision '{self.by}'", hint=" or ".join(WAYS))
        for key in ("namespace", "ssid_key", "passphrase_key"):
            if not re.fullmatch(rf"[\x21-\x7e]{{1,{MAX_KEY}}}", getattr(self, key)):
                raise BenchError(
                    f"{key}: '{getattr(self, key)}' is no NVS name",
                    hint=f"1 to {MAX_KEY} ASCII characters",
                )
        if self.table_offset % 0x1000 or not 0x1000 <= self.table_offset < 1 << 27:
            raise BenchError("table_offset: expected a multiple of 0x1000", hint="0x8000")


USUAL = Provision()
"""ESP-IDF's own way, in the partition `nvs`."""


def credentials(
    way: Provision, ssid: str, passphrase: str, old: Contents
) -> tuple[Mapping[Name, Value], frozenset[Name]]:
    """The keys to set and those to take out, given what is there."""
    space = way.namespace
    if space != IDF_NAMESPACE:
        put = {(space, way.ssid_key): string(ssid)}
        return {**put, (space, way.passphrase_key): string(passphrase)}, frozenset()
    name, phrase = ssid.encode(), passphrase.encode()
    put = {
        (space, _SSID): blob(
            len(name).to_bytes(4, "little")
            + name.ljust(_room(old, _SSID, 36, 4 + len(name)) - 4, b"\0")
        ),
        (space, _PASSPHRASE): blob(phrase.ljust(_room(old, _PASSPHRASE, 65, len(phrase)), b"\0")),
    }
    if all(old.values.get(key) == value for key, value in put.items()):
        return put, frozenset()  # the same network: what was derived from it still holds
    return put, frozenset((space, key) for key in _DERIVED)


def _room(old: Contents, key: str, usual: int, needed: int) -> int:
    """The size of a blob: as it is there, else the usual one."""
    there = old.values.get((IDF_NAMESPACE, key))
    if there is None or not isinstance(there.content, bytes) or there.kind != "blob":
        return usual
    return len(there.content) if len(there.content) >= needed else max(usual, needed)
