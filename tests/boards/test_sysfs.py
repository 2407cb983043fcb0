"""Discovery as pyserial does it, on a made tree of /sys and /dev in a mount namespace of its own.

There is no USB on a test machine: the tree is laid out as Linux lays out usb-serial and CDC-ACM
devices (Documentation/ABI, `class/tty/*/device`), and pyserial's own code reads it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSIDE = """
import json, subprocess, sys
from pathlib import Path

top = Path(sys.argv[1])

def mount(*words):
    subprocess.run(["mount", *words], check=True)

def attach(tty, place, ids, serial, interface="1.0", count=1, driver="usb-serial"):
    device = top / "devices" / place
    port = device / f"{place}:{interface}"
    port.mkdir(parents=True)
    for name, text in {
        "idVendor": ids[0], "idProduct": ids[1], "serial": serial, "bNumInterfaces": str(count)
    }.items():
        if text is not None:
            (device / name).write_text(text + "\\n")
    (port / "bInterfaceNumber").write_text("00\\n")
    if driver == "usb-serial":
        port = port / tty
        port.mkdir()
    (top / driver).mkdir(exist_ok=True)
    (port / "subsystem").symlink_to(top / driver)
    node = top / "class" / tty
    node.mkdir(parents=True)
    (node / "device").symlink_to(port)
    Path("/dev", tty).touch()

mount("-t", "tmpfs", "none", str(top))
for name in ("class", "up", "work", "pts"):
    (top / name).mkdir()
mount("--bind", "/dev/pts", str(top / "pts"))
mount("-t", "overlay", "-o", f"lowerdir=/dev,upperdir={top}/up,workdir={top}/work", "o", "/dev")
attach("ttyUSB0", "1-1.2", ("10c4", "ea60"), "0001")
attach("ttyUSB1", "1-1.3", ("1a86", "7523"), None)
attach("ttyUSB2", "1-1.4", ("0403", "6010"), "FT1", "1.1", 2)
attach("ttyACM0", "1-2", ("303a", "1001"), "7C:DF:A1:00:00:01", driver="usb")
attach("ttyACM1", "1-3", ("046d", "c52b"), None, driver="usb")
mount("--bind", str(top / "class"), "/sys/class/tty")
links = Path("/dev/serial/by-id")
links.mkdir(parents=True)
(links / "usb-Silicon_Labs_CP2102-if00-port0").symlink_to("../../ttyUSB0")

from rig.boards.adopting import board_on
from rig.boards.discovery import attached
from rig.boards.locks import things
print(json.dumps([
    [p.device, p.bridge, p.usb, p.serial, p.mac, p.link, things(board_on(p))] for p in attached()
]))
"""


@pytest.mark.root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)")
def test_the_ports_of_a_made_sysfs_tree_are_found_named_and_locked_by_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "home"))
    top = tmp_path / "tree"
    top.mkdir()
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", INSIDE, str(top)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "permission denied" in done.stderr.lower() and "mount" in done.stderr:
        pytest.skip("this container may not mount")
    assert done.returncode == 0, done.stderr
    link = "/dev/serial/by-id/usb-Silicon_Labs_CP2102-if00-port0"
    jtag, mac = "Espressif USB-Serial-JTAG", "7c:df:a1:00:00:01"
    assert json.loads(done.stdout) == [
        ["/dev/ttyACM0", jtag, "1-2", mac.upper(), mac, None, ["usb:1-2:1.0"]],
        ["/dev/ttyUSB0", "Silicon Labs CP210x", "1-1.2", "0001", None, link, ["usb:1-1.2:1.0"]],
        ["/dev/ttyUSB1", "WCH CH34x", "1-1.3", None, None, None, ["usb:1-1.3:1.0"]],
        ["/dev/ttyUSB2", "FTDI", "1-1.4:1.1", "FT1", None, None, ["usb:1-1.4:1.1"]],
    ]
