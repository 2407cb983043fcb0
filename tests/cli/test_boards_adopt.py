"""`rig boards --probe` and `rig boards adopt`: real esptool, the virtual board behind the ports.

There is no USB here: which ports are attached is pyserial's `ListPortInfo` filled in by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serial.tools.list_ports_common import ListPortInfo

from rig import cli
from rig.boards.lock_file import LockFile

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
Capsys = pytest.CaptureFixture[str]


def usb(device: str, place: str) -> ListPortInfo:
    port = ListPortInfo(device, skip_link_detection=True)
    port.vid, port.pid, port.location, port.serial_number = 0x10C4, 0xEA60, place, "0001"
    return port


@pytest.fixture
def attach(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Virtual boards as `usb` ports at 1-1.N, in their loader: a pty has no lines to reset by."""
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(home / "locks"))

    def put(count: int = 1) -> list[str]:
        devices = []
        for number in range(1, count + 1):
            assert cli.run(["reset", f"virtual:{number}", "--download"]) == 0
            devices.append(str((home / f"virtual-{number}" / "uart").resolve()))
        found = [usb(device, f"1-1.{at + 1}") for at, device in enumerate(devices)]
        monkeypatch.setattr("rig.boards.discovery.list_ports.comports", lambda: found)
        monkeypatch.setenv("SENDSPIN_RIG_HOME", str(home.with_name("rig")))  # else they have names
        return devices

    yield put
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(home))


def rows(capsys: Capsys, *words: str) -> dict[str, dict[str, str]]:
    capsys.readouterr()
    assert cli.run(["boards", *words, "--json"]) == 0
    return {row["console"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_port_is_listed_without_a_touch_and_known_after_a_probe(
    attach: Callable[..., list[str]], capsys: Capsys
) -> None:
    assert cli.run(["flash", "virtual", str(FIRMWARE / "v0.7.0"), "--no-boot"]) == 0
    (device,) = attach()
    before = rows(capsys)[device]
    assert (before["mac"], before["state"], before["usb"]) == (None, "not in the bench", "1-1.1")
    after = rows(capsys, "--probe")[device]
    assert after["mac"].startswith("7e:df:a1:")
    assert (after["chip"], after["revision"]) == ("ESP32-C3", "v0.4")
    assert after["firmware"] == "sendspin-speaker v0.7.0"
    assert rows(capsys)[device] == after


def test_adopted_boards_are_in_the_bench_by_mac_and_place_and_listed_by_name(
    attach: Callable[..., list[str]], capsys: Capsys
) -> None:
    Path("bench.toml").write_text("# mine\n[boards.far]\nconsole = 'socket://far:1'  # away\n")
    devices = attach(2)
    assert cli.run(["boards", "adopt", devices[0], "--name", "kitchen"]) == 0
    assert "bench.toml: wrote kitchen (7e:df:a1:" in capsys.readouterr().out
    assert cli.run(["boards", "adopt"]) == 0
    text = Path("bench.toml").read_text()
    assert text.startswith("# mine\n[boards.far]\nconsole = 'socket://far:1'  # away\n")
    listed = rows(capsys)
    assert listed[devices[0]]["board"] == "kitchen"
    assert listed[devices[1]]["board"].startswith("esp32c3-")
    assert cli.run(["boards", "adopt"]) == 0
    assert "nothing to add" in capsys.readouterr().out
    assert Path("bench.toml").read_text() == text
    assert cli.run(["bench", "check"]) == 0


def test_boards_that_were_exchanged_are_not_taken_for_each_other(
    attach: Callable[..., list[str]], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = attach(2)
    assert cli.run(["boards", "adopt", first, "--name", "kitchen"]) == 0
    exchanged = [usb(first, "1-1.2"), usb(second, "1-1.1")]
    monkeypatch.setattr("rig.boards.discovery.list_ports.comports", lambda: exchanged)
    capsys.readouterr()
    assert cli.run(["erase", "kitchen", "--size", "0x1000"]) == 2
    assert f"the board on {second} has MAC 7e:df:a1:" in capsys.readouterr().err
    assert rows(capsys, "--probe")[first]["board"] == "kitchen"
    assert cli.run(["erase", "kitchen", "--size", "0x1000"]) == 0


def test_what_would_be_written_can_be_seen_first(
    attach: Callable[..., list[str]], capsys: Capsys
) -> None:
    attach()
    assert cli.run(["boards", "adopt", "--no-probe", "--dry-run"]) == 0
    assert "would write usb-1-1.1 (MAC not known at 1-1.1)" in capsys.readouterr().out
    assert not Path("bench.toml").exists()


def test_a_held_board_is_not_asked(attach: Callable[..., list[str]], capsys: Capsys) -> None:
    (device,) = attach()
    lock = LockFile(device)
    assert lock.acquire("a run") is None
    assert rows(capsys, "--probe")[device]["mac"] is None
    lock.release()


def test_a_chip_that_does_not_answer_is_an_error_and_the_others_are_adopted(
    attach: Callable[..., list[str]], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (device,) = attach()
    found = [usb("/dev/nowhere", "1-4"), usb(device, "1-1.1")]
    monkeypatch.setattr("rig.boards.discovery.list_ports.comports", lambda: found)
    assert cli.run(["boards", "adopt"]) == 3
    said = capsys.readouterr()
    assert "wrote esp32c3-" in said.out
    assert "/dev/nowhere: there is no such device" in said.err


@pytest.mark.usefixtures("home")
def test_a_port_that_is_none_is_wrong_use(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rig.boards.discovery.list_ports.comports", list)
    assert cli.run(["boards", "adopt", "/dev/ttyUSB7"]) == 2
    assert "'/dev/ttyUSB7' is no attached port" in capsys.readouterr().err
    for name in ([], ["--name", "kitchen"]):
        assert cli.run(["boards", "adopt", *name]) == 3
        said = capsys.readouterr().err
        assert "no ESP32 is attached" in said
        assert "ls /dev/ttyUSB*" in said
