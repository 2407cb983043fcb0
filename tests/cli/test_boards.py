"""Commands on boards, on the virtual one and on a plain one made from it."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rig import cli

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
Capsys = pytest.CaptureFixture[str]


def said(capsys: Capsys, *args: str) -> Any:
    """What `rig ARGS --json` says on stdout."""
    capsys.readouterr()
    assert cli.run([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def takes_connections(address: str) -> bool:
    url = urlsplit(address)
    with socket.create_connection((url.hostname, url.port), timeout=5):
        return True


@pytest.mark.usefixtures("home")
def test_flash_ends_with_the_board_booted_and_its_port_open(capsys: Capsys) -> None:
    report = said(capsys, "flash", "virtual", str(FIRMWARE / "v0.7.0"))
    assert report["firmware"] == "sendspin-speaker v0.7.0"
    assert report["booted"] is True
    assert report["verified"] == report["written"] + report["skipped"] > 0
    assert takes_connections(report["address"])


@pytest.mark.usefixtures("home")
def test_the_flashed_version_is_the_one_that_runs_after_a_second_flash(capsys: Capsys) -> None:
    said(capsys, "flash", "virtual", str(FIRMWARE / "v0.7.0"))
    report = said(capsys, "flash", "virtual", str(FIRMWARE / "v0.6.1"))
    assert report["firmware"] == "sendspin-speaker v0.6.1"
    assert report["skipped"] > 0  # the loader is the same


@pytest.mark.usefixtures("home")
def test_a_board_that_does_not_boot_is_shown_with_its_last_words(
    tmp_path: Path, capsys: Capsys
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(FIRMWARE / "v0.7.0", broken)
    app = broken / "sendspin-speaker.bin"
    data = bytearray(app.read_bytes())
    data[len(data) // 2] ^= 0xFF
    app.write_bytes(data)
    code = cli.run(["flash", "virtual", str(broken), "--force", "--timeout", "10"])
    assert code == 3
    assert "esp_image" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_a_bundle_that_is_not_there_is_named(capsys: Capsys) -> None:
    assert cli.run(["flash", "virtual", "nowhere"]) == 2
    assert "nowhere: there is no such file or folder" in capsys.readouterr().err


def test_reset_boots_the_board_again(home: Path, capsys: Capsys) -> None:
    report = said(capsys, "flash", "virtual", str(FIRMWARE / "v0.7.0"))
    url = urlsplit(report["address"])
    with socket.create_connection((url.hostname, url.port), timeout=5) as client:
        client.sendall(b"GET /sendspin HTTP/1.1\r\n")
        assert cli.run(["reset", "virtual"]) == 0
        client.settimeout(20)
        with pytest.raises(ConnectionResetError):  # its next boot knows nothing of this one
            client.recv(1)


def test_boards_lists_the_virtual_board_before_and_after_its_use(
    home: Path, capsys: Capsys
) -> None:
    (row,) = [row for row in said(capsys, "boards") if row["board"] == "virtual"]
    assert (row["kind"], row["state"]) == ("virtual", "unplugged")
    assert not home.exists()
    report = said(capsys, "flash", "virtual", str(FIRMWARE / "v0.7.0"))
    (row,) = [row for row in said(capsys, "boards") if row["board"] == "virtual"]
    assert row["state"] == "run"
    assert row["address"] == report["address"]


def test_boards_lists_those_of_the_bench(tmp_path: Path, home: Path, capsys: Capsys) -> None:
    Path("bench.toml").write_text(
        '[boards.here]\nconsole = "bench.toml"\n[boards.gone]\nconsole = "/dev/nowhere"\n'
        '[boards.far]\nconsole = "socket://far:1"\naddress = "far"\n'
    )
    rows = {row["board"]: row for row in said(capsys, "boards")}
    assert rows["here"]["state"] == "there"
    assert rows["gone"]["state"] == "port missing"
    assert rows["far"]["state"] == "not asked"
    assert rows["far"]["address"] == "ws://far:8928/sendspin"


def test_unplug_ends_the_board_and_keeps_its_flash(home: Path, capsys: Capsys) -> None:
    said(capsys, "flash", "virtual", str(FIRMWARE / "v0.7.0"))
    assert cli.run(["unplug", "virtual"]) == 0
    assert "virtual: unplugged" in capsys.readouterr().out
    (row,) = [row for row in said(capsys, "boards") if row["board"] == "virtual"]
    assert row["state"] == "unplugged"
    assert (home / "virtual-1" / "flash.bin").stat().st_size == 4 << 20


@pytest.mark.usefixtures("home")
def test_a_board_without_a_plug_cannot_be_unplugged(capsys: Capsys) -> None:
    Path("bench.toml").write_text('[boards.kit]\nconsole = "x"\n')
    assert cli.run(["unplug", "kit"]) == 2
    assert "cannot unplug 'kit'" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_a_board_without_a_flash_port_cannot_be_flashed(capsys: Capsys) -> None:
    Path("bench.toml").write_text('[boards.kit]\naddress = "127.0.0.1"\n')
    assert cli.run(["flash", "kit", str(FIRMWARE / "v0.7.0")]) == 2
    assert "cannot be flashed from here" in capsys.readouterr().err


def test_a_plain_board_is_flashed_with_its_own_reset_commands(home: Path, capsys: Capsys) -> None:
    """As a board behind a serial server would be: a port without lines, and commands to reset."""
    first = said(capsys, "flash", "virtual", str(FIRMWARE / "v0.5.0"))
    reset = f"'{sys.executable}' -m rig reset virtual"
    Path("bench.toml").write_text(
        f'[boards.kit]\nconsole = "{first["console"]}"\nflash = "{first["console"]}"\n'
        f'address = "{first["address"]}"\nreset = "{reset}"\n'
        f'reset_download = {{ run = "{reset} --download" }}\n'
    )
    report = said(capsys, "flash", "kit", str(FIRMWARE / "v0.7.0"))
    assert report["firmware"] == "sendspin-speaker v0.7.0"
    assert report["booted"] is True


@pytest.mark.usefixtures("home")
def test_doctor_says_of_everything_whether_it_works(capsys: Capsys) -> None:
    findings = said(capsys, "doctor")
    names = {found["name"] for found in findings}
    assert {
        "Python",
        "esptool",
        "root",
        "network namespaces",
        "packet faults",
        "serial ports",
    } <= names
    assert all(found["hint"] for found in findings if found["state"] != "ok")


def test_doctor_ends_with_2_when_something_needed_is_missing(
    home: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_text("a file where the state folder should be")
    assert cli.run(["doctor"]) == 2
    assert "state folder" in capsys.readouterr().out
    home.unlink()
