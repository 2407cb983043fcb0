"""A port looked at before use: what is there, whose it is, who has it open."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from firmware_flasher.errors import PortDenied, PortMissing, UsageError
from firmware_flasher.port import SerialPort, check_port, denied, device_path, holders


def test_a_missing_port_is_named(tmp_path: Path) -> None:
    with pytest.raises(PortMissing, match="ttyNOPE: there is no such device") as caught:
        check_port(SerialPort(str(tmp_path / "ttyNOPE")))
    assert caught.value.hint


@pytest.mark.parametrize(("make", "kind"), [(Path.mkdir, "folder"), (Path.touch, "file")])
def test_what_is_no_serial_device_is_called_what_it_is(
    tmp_path: Path, make: object, kind: str
) -> None:
    path = tmp_path / "port"
    make(path)  # type: ignore[operator]

    with pytest.raises(PortMissing, match=f"not a serial device but a {kind}"):
        check_port(SerialPort(str(path)))


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (SerialPort(""), "port: empty"),
        (SerialPort("http://x"), "unknown scheme 'http'"),
        (SerialPort("/dev/null", before="reset"), "before: 'reset'"),
        (SerialPort("/dev/null", after="reset"), "after: 'reset'"),
        (SerialPort("/dev/null", baud=0), "baud: 0"),
        (SerialPort("/dev/null", baud=10**9), "baud: 1000000000"),
    ],
)
def test_words_and_rates_that_make_no_sense_are_refused(port: SerialPort, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_port(port)


def test_a_port_one_may_not_open_names_the_group() -> None:
    master, slave = pty.openpty()
    os.fchmod(slave, 0)
    if os.access(os.ttyname(slave), os.R_OK):
        pytest.skip("root may open everything")

    with pytest.raises(PortDenied, match="no permission"):
        check_port(SerialPort(os.ttyname(slave)))
    os.close(master)
    os.close(slave)


def test_the_error_for_a_forbidden_port_says_how_to_get_in() -> None:
    error = denied(Path("/dev/null"))

    assert "usermod -aG dialout" in str(error)


def test_an_url_has_no_device() -> None:
    assert device_path("socket://127.0.0.1:5000") is None
    assert device_path("/dev/ttyUSB0") == Path("/dev/ttyUSB0")


def test_the_process_that_holds_a_port_is_found() -> None:
    master, slave = pty.openpty()
    held = "import sys; port = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", held, os.ttyname(slave)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"

        found = holders(os.ttyname(slave))

        assert [holder.pid for holder in found] == [process.pid]
        assert str(process.pid) in str(found[0])
        process.communicate()
    os.close(master)
    os.close(slave)


def test_a_port_nobody_holds_has_no_holder() -> None:
    master, slave = pty.openpty()

    assert holders(os.ttyname(slave)) == ()
    os.close(master)
    os.close(slave)


def test_the_udev_rule_names_the_adapter_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = ListPortInfo("/dev/ttyUSB0")  # made: no adapter is attached here
    adapter.vid, adapter.pid = 0x10C4, 0xEA60
    monkeypatch.setattr(list_ports, "comports", lambda: [adapter])

    known, unknown = denied(Path("/dev/ttyUSB0")), denied(Path("/dev/ttyS0"))

    assert 'ATTRS{idVendor}=="10c4", ATTRS{idProduct}=="ea60"' in str(known)
    assert "usermod -aG" in str(unknown)
    assert "udev" not in str(unknown)  # on no USB: no rule of ours would fit it
