"""Attached ports into a bench file, with what is in the file kept."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.boards.adopting import adopt, write_bench
from rig.boards.base import Identity
from rig.boards.bench import parse_bench
from rig.boards.discovery import FoundPort
from rig.errors import BenchError

FILE = Path("bench.toml")
MAC = "7c:df:a1:00:00:01"


def port(
    place: str | None = "1-1.2", mac: str | None = MAC, device: str = "/dev/ttyUSB0"
) -> FoundPort:
    identity = Identity(mac, "ESP32-C3", "v0.4") if mac else None
    return FoundPort(device, "FTDI", place, None, identity)


def add(source: str, *ports: FoundPort, name: str | None = None) -> tuple[str, list[str]]:
    text, adopted = adopt(source, FILE, parse_bench(source.encode(), FILE), ports, name)
    return text, [one.name for one in adopted]


def test_a_board_gets_a_table_with_its_mac_place_and_chip() -> None:
    text, names = add("", port())
    assert names == ["esp32c3-000001"]
    assert tomllib.loads(text)["boards"] == {
        "esp32c3-000001": {"mac": MAC, "usb": "1-1.2", "chip": "esp32c3"}
    }


def test_comments_order_and_spacing_stay() -> None:
    source = (
        "# my bench\n\n[boards.kitchen]   # by the window\n"
        "mac    = '7c:df:a1:00:00:99'\n\n\n[network]\nssid='lab'  # the guests'\n"
    )
    text, _ = add(source, port())
    assert [line for line in text.splitlines() if line in source.splitlines()]
    left = iter(text.splitlines())
    assert all(line in left for line in source.splitlines())
    assert set(parse_bench(text.encode(), FILE).boards) == {"kitchen", "esp32c3-000001"}


@pytest.mark.parametrize(
    "table",
    [
        f"mac = '{MAC}'",
        f"mac = '{MAC.upper()}'\nusb = '1-1.2'",
        "usb = '1-1.2'",
        "console = '/dev/ttyUSB0'",
        "port = '/dev/ttyUSB0'",
    ],
)
def test_a_board_that_has_its_table_gets_no_second_one(table: str) -> None:
    source = f"[boards.kitchen]\n{table}\n"
    assert add(source, port()) == (source, [])


def test_a_board_that_moved_gets_its_new_place_and_keeps_the_rest() -> None:
    source = f"[boards.kitchen]\nmac = '{MAC}'\nusb = '1-4'  # left hub\nconsole_baud = 921600\n"
    text, names = add(source, port())
    assert names == ["kitchen"]
    assert text == source.replace("'1-4'", '"1-1.2"')


def test_another_board_at_a_known_place_is_a_board_of_its_own() -> None:
    source = "[boards.kitchen]\nmac = '7c:df:a1:00:00:99'\nusb = '1-1.2'\n"
    assert add(source, port())[1] == ["esp32c3-000001"]


def test_a_chip_that_was_not_asked_is_adopted_by_its_place() -> None:
    text, names = add("", port(mac=None), port("1-1.3", None, "/dev/ttyUSB1"))
    assert names == ["usb-1-1.2", "usb-1-1.3"]
    assert tomllib.loads(text)["boards"]["usb-1-1.2"] == {"usb": "1-1.2"}


def test_a_port_without_a_usb_place_is_adopted_by_its_device() -> None:
    text, _ = add("", port(None, None))
    assert tomllib.loads(text)["boards"] == {"usb-ttyUSB0": {"port": "/dev/ttyUSB0"}}


def test_a_name_can_be_chosen_and_is_not_taken_twice() -> None:
    text, names = add("", port(), name="kitchen")
    assert names == ["kitchen"]
    with pytest.raises(BenchError, match=r"'kitchen' is in bench\.toml already"):
        add(text, port("1-3", "7c:df:a1:00:00:02"), name="kitchen")


def test_a_name_that_is_none_is_refused_before_anything_is_written() -> None:
    with pytest.raises(BenchError, match="is no name for a board"):
        add("", port(), name="my kitchen")


@pytest.mark.parametrize(
    "source",
    [
        "boards = { kit = { console = 'a' } }\n",
        "boards.kit.console = 'a'\n",
        "[boards]\nkit = { console = 'a' }\n",
        "[boards.kit]\nconsole = 'a'\n[network]\nssid = 'lab'\n[boards.far]\nconsole = 'b'\n",
        "[network]\nssid = 'lab'",
        "# nothing but this",
    ],
)
def test_a_file_of_any_shape_takes_a_board(source: str) -> None:
    text, names = add(source, port())
    before, after = (parse_bench(t.encode(), FILE).boards for t in (source, text))
    assert names == ["esp32c3-000001"]
    assert {name: after[name] for name in before} == dict(before)


_COMMENT = st.sampled_from(["", "  # why", "\t#\tx"])
_LINE = st.sampled_from(["", "# a line of its own", "   "])
_TABLES = st.lists(st.sampled_from(["a", "b", "c.d", "é"]), unique=True, max_size=3)


@settings(max_examples=30)
@given(_TABLES, st.lists(_LINE, max_size=4), _COMMENT, st.booleans(), st.sampled_from("\n\r"))
def test_whatever_is_around_stays_and_the_result_reads_back(
    names: list[str], lines: list[str], comment: str, network: bool, end: str
) -> None:
    newline = "\r\n" if end == "\r" else "\n"
    rows = [*lines]
    for name in names:
        if name == "é":
            continue
        rows += [f'[boards."{name}"]{comment}', f"console = 'x-{name}'{comment}", *lines]
    if network:
        rows += ["[network]", f"ssid = 'lab'{comment}"]
    source = newline.join(rows) + newline
    text, adopted = add(source, port())
    assert adopted == ["esp32c3-000001"]
    left = iter(text.split(newline))
    assert all(row in left for row in rows if row.strip())
    before, after = (parse_bench(t.encode(), FILE).boards for t in (source, text))
    assert {name: after[name] for name in before} == dict(before)


def test_a_file_is_written_whole_with_the_mode_it_had(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "bench.toml"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_bench(link, "new\r\n")
    assert real.read_bytes() == b"new\r\n"
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.toml", "real.toml"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot write the bench file"):
        write_bench(tmp_path / "none" / "bench.toml", "new")
