"""NVS partitions: read as ESP-IDF does, changed with every other key kept."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.boards.nvs_partition import (
    PAGE,
    Contents,
    NvsEncrypted,
    NvsError,
    Value,
    blob,
    changed,
    differences,
    make_nvs,
    read_nvs,
    string,
)

FIXTURE = Path(__file__).parents[2] / "fixtures" / "firmware" / "v0.7.0" / "nvs.bin"
SIZE = 0x6000
EMPTY = Contents({}, (), 2)

_RANGES = {"u8": (0, 1 << 8), "i8": (-(1 << 7), 1 << 7), "u32": (0, 1 << 32)}
_RANGES |= {"u16": (0, 1 << 16), "i16": (-(1 << 15), 1 << 15), "i32": (-(1 << 31), 1 << 31)}
_RANGES |= {"u64": (0, 1 << 64), "i64": (-(1 << 63), 1 << 63)}
_NAME = st.text("abcdefgh.XYZ_0123", min_size=1, max_size=15)
_NUMBER = st.sampled_from(sorted(_RANGES)).flatmap(
    lambda kind: st.integers(_RANGES[kind][0], _RANGES[kind][1] - 1).map(lambda n: Value(kind, n))
)
_TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=200).map(string)
_VALUE = _NUMBER | _TEXT | st.binary(max_size=300).map(blob)
_VALUES = st.dictionaries(st.tuples(_NAME, _NAME), _VALUE, max_size=20)


def contents(values: dict[tuple[str, str], Value], version: int = 2) -> Contents:
    return Contents(values, tuple(dict.fromkeys(space for space, _ in values)), version)


def test_what_the_generators_command_made_is_read() -> None:
    found = read_nvs(FIXTURE.read_bytes())
    assert found.namespaces == ("nvs.net80211",)
    assert found.values["nvs.net80211", "opmode"] == Value("u8", 1)
    ssid = found.values["nvs.net80211", "sta.ssid"].content
    assert isinstance(ssid, bytes)
    assert (len(ssid), ssid[:15]) == (36, b"\x0b\0\0\0virtual-air")
    assert found.dropped == 0


@given(_VALUES, st.sampled_from([1, 2]))
@settings(max_examples=60)
def test_what_is_made_holds_exactly_what_was_asked(
    values: dict[tuple[str, str], Value], version: int
) -> None:
    wanted = contents(values, version)
    back = read_nvs(make_nvs(wanted, 0x8000))
    assert dict(back.values) == values
    assert back.version == version
    assert back.namespaces == wanted.namespaces


def test_a_blob_over_several_pages_is_kept() -> None:
    big = blob(random.Random(1).randbytes(9_000))
    assert read_nvs(make_nvs(contents({("a", "b"): big}), SIZE)).values["a", "b"] == big


def test_a_namespace_without_keys_is_kept() -> None:
    assert read_nvs(make_nvs(Contents({}, ("misc",), 2), SIZE)).namespaces == ("misc",)


def test_keys_are_set_and_taken_out_and_all_else_stays() -> None:
    old = contents({("a", "x"): Value("u8", 1), ("a", "y"): string("y"), ("b", "z"): blob(b"z")})
    new = changed(old, {("c", "n"): string("new")}, frozenset({("a", "x")}))
    back = read_nvs(make_nvs(new, SIZE))
    assert dict(back.values) == {
        ("a", "y"): string("y"),
        ("b", "z"): blob(b"z"),
        ("c", "n"): string("new"),
    }
    assert set(differences(old, back)) == {("a", "x"), ("c", "n")}


def test_blank_flash_is_an_empty_partition() -> None:
    assert read_nvs(b"\xff" * SIZE) == EMPTY


def test_an_erased_entry_does_not_count_and_a_newer_one_does() -> None:
    image = bytearray(
        make_nvs(contents({("a", "x"): Value("u8", 1), ("a", "y"): Value("u8", 2)}), SIZE)
    )
    image[32] &= ~(3 << 2)  # the second entry (after the namespace's) is a/x
    found = read_nvs(bytes(image))
    assert dict(found.values) == {("a", "y"): Value("u8", 2)}


def test_of_two_values_of_a_key_the_newer_pages_counts() -> None:
    old = make_nvs(contents({("a", "x"): Value("u8", 1)}), SIZE)[:PAGE]
    new = bytearray(make_nvs(contents({("a", "x"): Value("u8", 2)}), SIZE)[:PAGE])
    struct.pack_into("<I", new, 4, 7)
    from zlib import crc32

    struct.pack_into("<I", new, 28, crc32(bytes(new[4:28]), 0xFFFFFFFF))
    found = read_nvs(bytes(new) + old + b"\xff" * PAGE)
    assert dict(found.values) == {("a", "x"): Value("u8", 2)}


def test_ciphertext_is_known_as_such() -> None:
    image = bytearray(make_nvs(contents({("a", "x"): Value("u8", 1)}), SIZE))
    image[64:PAGE] = random.Random(2).randbytes(PAGE - 64)  # XTS-AES leaves header and bitmap
    with pytest.raises(NvsEncrypted, match="is encrypted"):
        read_nvs(bytes(image))


def test_what_is_no_nvs_is_refused() -> None:
    with pytest.raises(NvsError, match="something else than NVS"):
        read_nvs(random.Random(3).randbytes(SIZE))


@pytest.mark.parametrize("size", [0, 100, PAGE, SIZE + 1])
def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(NvsError, match="expected a multiple"):
        read_nvs(b"\xff" * size)
    with pytest.raises(NvsError, match="expected a multiple"):
        make_nvs(EMPTY, size)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NvsError, match="too few"):
        make_nvs(contents({("a", f"k{n}"): blob(b"x" * 3_000) for n in range(8)}), SIZE)


def test_an_unknown_type_is_refused_by_its_key_rather_than_lost() -> None:
    from zlib import crc32

    image = bytearray(make_nvs(contents({("a", "odd"): Value("u8", 1)}), SIZE))
    head = image[96:128]
    head[1] = 0x99
    struct.pack_into("<I", head, 4, crc32(bytes(head[:4] + head[8:]), 0xFFFFFFFF))
    image[96:128] = head
    with pytest.raises(NvsError, match="'odd' has type 0x99"):
        read_nvs(bytes(image))


def test_no_value_is_ever_shown() -> None:
    assert "secret" not in repr(contents({("a", "x"): string("secret")}))


@given(st.integers(0, SIZE * 8 - 1), st.integers(1, 40))
@settings(max_examples=150)
def test_damage_is_dropped_or_refused_and_never_an_exception_of_another_kind(
    bit: int, count: int
) -> None:
    image = bytearray(FIXTURE.read_bytes())
    for at in range(count):
        where = (bit + at * 7919) % (len(image) * 8)
        image[where // 8] ^= 1 << where % 8
    names: set[tuple[str, str]] = set()
    with contextlib.suppress(NvsError):
        names = set(read_nvs(bytes(image)).values)
    assert names <= set(read_nvs(FIXTURE.read_bytes()).values)


@given(st.binary(max_size=PAGE))
def test_any_page_is_read_or_refused(page: bytes) -> None:
    good = make_nvs(contents({("a", "x"): Value("u8", 1)}), SIZE)
    image = good[:64] + page.ljust(PAGE - 64, b"\xff")[: PAGE - 64] + good[PAGE:]
    with contextlib.suppress(NvsError):
        assert read_nvs(image).version in (1, 2)
