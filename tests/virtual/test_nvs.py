from __future__ import annotations

import argparse

import pytest
from esp_idf_nvs_partition_gen import nvs_partition_gen
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.boards.virtual.flash import NorFlash
from rig.boards.virtual.nvs import Nvs

BLOB = bytes(range(256)) * 20
CSV = f"""key,type,encoding,value
net,namespace,,
ssid,data,string,virtual-air
number,data,u8,7
below,data,i32,-5
wide,data,u64,1234567890123
big,data,hex2bin,{BLOB.hex()}
other,namespace,,
ssid,data,string,another
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A partition as Espressif's own generator makes it."""
    folder = tmp_path_factory.mktemp("nvs")
    (folder / "nvs.csv").write_text(CSV)
    nvs_partition_gen.generate(
        argparse.Namespace(
            input=str(folder / "nvs.csv"),
            output="nvs.bin",
            outdir=str(folder),
            size="0x6000",
            version=2,
        )
    )
    return (folder / "nvs.bin").read_bytes()


class Cells:
    """Flash in memory, with the NOR rules of the real one."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)

    def read(self, at, size):
        return bytes(self.content[at : at + size])

    def poke(self, at, data):
        for n, byte in enumerate(data):
            self.content[at + n] &= byte

    def wipe(self, sector):
        self.content[sector : sector + 4096] = b"\xff" * 4096


@pytest.mark.parametrize(
    ("namespace", "key", "value"),
    [
        ("net", "ssid", b"virtual-air"),
        ("net", "number", 7),
        ("net", "below", -5),
        ("net", "wide", 1234567890123),
        ("net", "big", BLOB),
        ("other", "ssid", b"another"),
        ("other", "number", None),
        ("none", "ssid", None),
    ],
)
def test_it_reads_what_the_generator_wrote(image, namespace, key, value):
    assert Nvs(Cells(image), 0, len(image)).get(namespace, key) == value


def test_what_is_put_is_found_by_the_next_reader(image):
    cells = Cells(image)
    Nvs(cells, 0, len(image)).put("sendspin", "last", 0xFFFFFFFF)
    assert Nvs(cells, 0, len(image)).get("sendspin", "last") == 0xFFFFFFFF
    assert Nvs(cells, 0, len(image)).get("net", "big") == BLOB


def test_putting_for_ever_keeps_the_last_value_and_all_others(image):
    nvs = Nvs(Cells(image), 0, len(image))
    for number in range(1500):
        nvs.put("sendspin", "last", number)
        nvs.put("sendspin", "boots", number * 2)
    assert nvs.get("sendspin", "last") == 1499
    assert nvs.get("sendspin", "boots") == 2998
    assert nvs.get("net", "big") == BLOB
    assert nvs.get("net", "ssid") == b"virtual-air"


def test_a_partition_without_room_keeps_what_it_has():
    nvs = Nvs(Cells(b"\xff" * 0x3000), 0, 0x3000)
    nvs.put("a", "b", 5)
    assert nvs.get("a", "b") is None


def test_a_torn_entry_is_passed_over(image):
    cells = Cells(image)
    cells.content[64 + 32 + 24] ^= 1
    assert Nvs(cells, 0, len(image)).get("net", "ssid") is None


def test_no_partition_has_no_values_and_keeps_none(tmp_path):
    with NorFlash(tmp_path / "flash.bin") as flash:
        nvs = Nvs(flash, 0, 0)
        nvs.put("net", "number", 1)
        assert nvs.get("net", "number") is None


@given(st.binary(max_size=200), st.integers(0, 0x5F00))
@settings(deadline=None)
def test_no_content_makes_it_fail(image, noise, at):
    cells = Cells(image)
    cells.content[at : at + len(noise)] = noise
    nvs = Nvs(cells, 0, len(image))
    for key in ("ssid", "big", "number"):
        nvs.get("net", key)
