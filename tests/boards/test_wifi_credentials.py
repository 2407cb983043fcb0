"""Which keys of an NVS partition become which, for ESP-IDF's WiFi and for a firmware's own."""

from __future__ import annotations

import pytest

from rig.boards.nvs_partition import Contents, Value, blob, changed, string
from rig.boards.wifi_credentials import USUAL, Provision, credentials

WIFI = "nvs.net80211"
SECRET = "a most secret phrase"


def after(values: dict[tuple[str, str], Value], way: Provision = USUAL) -> dict[object, Value]:
    old = Contents(values, tuple(dict.fromkeys(space for space, _ in values)), 2)
    return dict(changed(old, *credentials(way, "lab", SECRET, old)).values)


def test_a_blank_partition_gets_the_two_blobs_in_the_sizes_of_esp_idfs_tests() -> None:
    assert after({}) == {
        (WIFI, "sta.ssid"): blob(b"\x03\0\0\0lab".ljust(36, b"\0")),
        (WIFI, "sta.pswd"): blob(SECRET.encode().ljust(65, b"\0")),
    }


def test_blobs_that_are_there_keep_their_size() -> None:
    found = after({(WIFI, "sta.pswd"): blob(b"q" * 64)})
    assert found[WIFI, "sta.pswd"] == blob(SECRET.encode().ljust(64, b"\0"))


def test_blobs_that_are_too_small_get_the_usual_size() -> None:
    found = after({(WIFI, "sta.pswd"): blob(b"q"), (WIFI, "sta.ssid"): string("old")})
    assert found[WIFI, "sta.pswd"] == blob(SECRET.encode().ljust(65, b"\0"))
    assert found[WIFI, "sta.ssid"] == blob(b"\x03\0\0\0lab".ljust(36, b"\0"))


def test_what_was_derived_from_the_former_network_is_taken_out_and_no_more() -> None:
    old = {(WIFI, "sta.ssid"): blob(b"\x03\0\0\0old".ljust(36, b"\0"))}
    old |= {(WIFI, "opmode"): Value("u8", 1), (WIFI, "sta.pmk"): blob(b"p" * 32)}
    old |= {("phy", "cal"): blob(b"c"), (WIFI, "bssid.set"): Value("u8", 1)}
    assert set(after(old)) == {
        (WIFI, "sta.ssid"),
        (WIFI, "sta.pswd"),
        (WIFI, "opmode"),
        ("phy", "cal"),
    }


def test_of_the_same_network_nothing_is_taken_out() -> None:
    same = after({}) | {(WIFI, "sta.pmk"): blob(b"p" * 32)}
    assert after(same) == same  # type: ignore[arg-type]


def test_a_firmwares_own_namespace_gets_two_strings() -> None:
    way = Provision(namespace="app", ssid_key="net", passphrase_key="p")
    found = after({("app", "volume"): Value("u8", 30), (WIFI, "sta.pmk"): blob(b"p")}, way)
    assert found == {
        ("app", "volume"): Value("u8", 30),
        (WIFI, "sta.pmk"): blob(b"p"),
        ("app", "net"): string("lab"),
        ("app", "p"): string(SECRET),
    }


@pytest.mark.parametrize("ssid", ["x", "Küche", "0123456789abcdef0123456789abcdef"])
def test_the_length_before_the_name_counts_bytes(ssid: str) -> None:
    put, _ = credentials(USUAL, ssid, "", Contents({}, (), 2))
    content = put[WIFI, "sta.ssid"].content
    assert isinstance(content, bytes)
    size = int.from_bytes(content[:4], "little")
    assert content[4 : 4 + size].decode() == ssid
    assert len(content) == 36
