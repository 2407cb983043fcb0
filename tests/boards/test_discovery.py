"""Which ports are ESP boards, and which of them a board of the bench is.

There is no USB here: `ListPortInfo` is pyserial's own, filled in by hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from serial.tools.list_ports_common import ListPortInfo

from rig.boards import open_board
from rig.boards.base import Identity
from rig.boards.bench import parse_bench
from rig.boards.discovery import FoundPort, attached, find, read_mac
from rig.boards.identities import remember
from rig.errors import BenchError, BoardError

CP2102 = (0x10C4, 0xEA60)
JTAG = (0x303A, 0x1001)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path))
    return tmp_path


def usb(device: str, ids: tuple[int, int], place: str, serial: str | None = None) -> ListPortInfo:
    port = ListPortInfo(device, skip_link_detection=True)
    port.vid, port.pid = ids
    port.location, port.serial_number = place, serial
    return port


def ports(*given: ListPortInfo) -> list[FoundPort]:
    return attached(lambda: given)


def test_only_the_adapters_of_esp_boards_are_found() -> None:
    mouse = usb("/dev/ttyACM1", (0x046D, 0xC52B), "1-3")
    plain = ListPortInfo("/dev/ttyS0", skip_link_detection=True)
    (found,) = ports(usb("/dev/ttyUSB0", CP2102, "1-1", "0001"), mouse, plain)
    assert (found.device, found.bridge, found.mac) == ("/dev/ttyUSB0", "Silicon Labs CP210x", None)


def test_espressifs_own_usb_says_its_mac_without_a_probe() -> None:
    (found,) = ports(usb("/dev/ttyACM0", JTAG, "1-2:1.0", "7C:DF:A1:00:00:01"))
    assert found.mac == "7c:df:a1:00:00:01"


def test_who_was_asked_once_is_known_at_the_same_place_and_nowhere_else() -> None:
    (first,) = ports(usb("/dev/ttyUSB0", CP2102, "1-1", "0001"))
    remember(first.key, Identity("7c:df:a1:00:00:02", "ESP32-C3", "v0.4"))
    same, other = ports(
        usb("/dev/ttyUSB7", CP2102, "1-1", "0001"), usb("/dev/ttyUSB8", CP2102, "1-2", "0001")
    )
    assert same.identity == Identity("7c:df:a1:00:00:02", "ESP32-C3", "v0.4")
    assert other.identity is None


def test_a_broken_cache_is_an_empty_one(home: Path) -> None:
    (home / "identities.json").write_bytes(b'{"a": 1')
    (found,) = ports(usb("/dev/ttyUSB0", CP2102, "1-1"))
    assert found.identity is None


@pytest.mark.parametrize("text", ["7CDFA1000001", "7c:df:a1:00:00:01", "7C-DF-A1-00-00-01"])
def test_a_mac_is_read_in_every_spelling(text: str) -> None:
    assert read_mac(text) == "7c:df:a1:00:00:01"


@pytest.mark.parametrize("text", ["", "0001", "7c:df:a1:00:00", "xx:df:a1:00:00:01"])
def test_what_is_no_mac_is_none(text: str) -> None:
    assert read_mac(text) is None


def test_a_board_is_found_by_place_with_and_without_its_interface() -> None:
    here = ports(usb("/dev/ttyUSB0", CP2102, "1-1:1.0"), usb("/dev/ttyUSB1", CP2102, "1-11:1.0"))
    assert find("kit", usb="1-1", ports=here).device == "/dev/ttyUSB0"
    assert find("kit", usb="1-11:1.0", ports=here).device == "/dev/ttyUSB1"


def test_a_board_that_is_not_there_is_answered_with_what_is() -> None:
    here = ports(usb("/dev/ttyUSB0", CP2102, "1-1"))
    with pytest.raises(BoardError, match=r"'kit' \(mac 7c:df:a1:00:00:09\) is not attached") as got:
        find("kit", mac="7CDFA1000009", ports=here)
    assert got.value.hint == (
        "attached: /dev/ttyUSB0 (1-1, MAC not known); "
        "`rig boards --probe` asks the unknown ones for their MAC"
    )


MAC = "7c:df:a1:00:00:02"


def known(device: str, place: str, mac: str | None) -> FoundPort:
    return FoundPort(device, "FTDI", place, None, Identity(mac) if mac else None)


def test_a_board_that_moved_is_found_by_its_mac_wherever_it_is() -> None:
    here = [known("/dev/a", "1-1", "7c:df:a1:00:00:09"), known("/dev/b", "1-2", MAC)]
    assert find("kit", mac=MAC, usb="1-1", ports=here).device == "/dev/b"


def test_a_place_must_do_where_nobody_was_asked_yet() -> None:
    here = [known("/dev/a", "1-1", None), known("/dev/b", "1-2", None)]
    assert find("kit", mac=MAC, usb="1-1", ports=here).device == "/dev/a"
    with pytest.raises(BoardError, match="is not attached"):
        find("kit", mac=MAC, ports=here)


def test_another_board_at_its_place_is_not_taken_for_it() -> None:
    here = [known("/dev/a", "1-1", "7c:df:a1:00:00:09")]
    with pytest.raises(BoardError, match="is not attached") as got:
        find("kit", mac=MAC, usb="1-1", ports=here)
    assert "7c:df:a1:00:00:09" in str(got.value.hint)


def test_the_lasting_name_that_udev_gave_a_port_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "ttyUSB0"
    device.touch()
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-esp").symlink_to(device)
    monkeypatch.setattr("rig.boards.discovery.UDEV_LINKS", (tmp_path / "by-id", tmp_path / "none"))
    (found,) = ports(usb(str(device), CP2102, "1-1"))
    assert found.link == str(tmp_path / "by-id" / "usb-esp")


def test_two_boards_that_fit_are_both_named() -> None:
    twins = [usb(f"/dev/ttyUSB{n}", CP2102, f"1-{n}", "0001") for n in (1, 2)]
    with pytest.raises(BoardError, match="may be any of /dev/ttyUSB1, /dev/ttyUSB2"):
        find("kit", serial="0001", ports=ports(*twins))


def test_a_bench_names_a_board_by_its_mac_and_its_port_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = usb("/dev/ttyACM3", JTAG, "1-2", "7C:DF:A1:00:00:01")
    monkeypatch.setattr("rig.boards.serial_board.find", _find_in(ports(here)))
    bench = parse_bench(b'[boards.kit]\nmac = "7c:df:a1:00:00:01"\n', Path("bench.toml"))
    board = open_board("kit", bench)
    assert board.kind == "serial"
    assert board.console_url == "/dev/ttyACM3"
    assert board.flash_port is not None
    assert board.flash_port.url == "/dev/ttyACM3"


def _find_in(here: list[FoundPort]) -> object:
    return lambda name, **wanted: find(name, ports=here, **wanted)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('mac = "12"', "bench.toml:2:1: mac: '12' is no MAC"),
        ('port = "/dev/ttyUSB0"\nusb = "1-1"', "bench.toml:2:1: port: contradicts usb"),
        ('usb = "1-1"\nmacc = "x"', "bench.toml:3:1: unknown key 'macc'; did you mean 'mac'?"),
    ],
)
def test_what_is_wrong_with_such_a_table_is_pointed_at(keys: str, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        parse_bench(f"[boards.kit]\n{keys}\n".encode(), Path("bench.toml"))
    assert words in caught.value.message
