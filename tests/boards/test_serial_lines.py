"""What is pulsed on DTR and RTS, by what it does to a chip behind the usual wirings.

There is no serial line here: `RecordedPort` stands for pyserial's port and notes each change;
`Transistors`, `Direct` and `UsbJtag` say what a board makes of it (esptool's "Boot Mode Selection",
the table of CDC-ACM control lines in the ESP32-C3's reference manual).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pty
import subprocess
import sys
import termios

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from rig.boards import port_trouble, serial_lines
from rig.boards.discovery import FLOW_CONTROL, attached
from rig.boards.serial_lines import Pins, reset_by_lines, sequence
from rig.console import sources
from rig.errors import BenchError, BoardError

Lines = tuple[bool, bool]
"""DTR and RTS."""


class RecordedPort:
    """A stand-in for pyserial's port: both lines, and every state that they were in."""

    def __init__(self, lines: Lines = (True, True)) -> None:
        self._dtr, self._rts = lines
        self.states: list[Lines] = []
        self.settled: list[Lines] = []
        self.is_open = False
        self.write_timeout: float | None = None

    def _note(self) -> None:
        if self.is_open:
            self.states.append((self._dtr, self._rts))

    def settle(self) -> None:
        self.settled.append((self._dtr, self._rts))

    @property
    def dtr(self) -> bool:
        return self._dtr

    @dtr.setter
    def dtr(self, value: bool) -> None:
        self._dtr = value
        self._note()

    @property
    def rts(self) -> bool:
        return self._rts

    @rts.setter
    def rts(self, value: bool) -> None:
        self._rts = value
        self._note()

    def setDTR(self, value: bool) -> None:
        self.dtr = value

    def setRTS(self, value: bool) -> None:
        self.rts = value

    def open(self) -> None:
        self.is_open = True
        self._note()

    def close(self) -> None:
        self.is_open = False


def transistors(states: list[Lines]) -> list[str]:
    """The usual two transistors: RTS alone pulls EN low, DTR alone IO0; both together neither."""
    return _boots([(not (rts and not dtr), not (dtr and not rts)) for dtr, rts in states])


def direct(states: list[Lines]) -> list[str]:
    """RTS on EN and DTR on IO0 without more: asserted is low."""
    return _boots([(not rts, not dtr) for dtr, rts in states])


def usb_jtag(states: list[Lines]) -> list[str]:
    """The chip's own: DTR alone asks for download, neither takes that back, RTS alone resets."""
    boots, asked, held = [], False, False
    for dtr, rts in states:
        if held and not (rts and not dtr):
            boots.append("download" if asked else "run")
        held = rts and not dtr
        if not rts:
            asked = dtr
    return boots


def _boots(pins: list[tuple[bool, bool]]) -> list[str]:
    """What a chip does at each rise of EN; a capacitor delays it until the lines have settled."""
    return [
        "run" if io0 else "download"
        for (before, _), (en, io0) in itertools.pairwise(pins)
        if en and not before
    ]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> RecordedPort:
    recorded = RecordedPort((False, False))
    monkeypatch.setattr(serial_lines.serial, "serial_for_url", lambda *_a, **_k: recorded)
    monkeypatch.setattr("esp_pylib.serial_reset.time.sleep", lambda _seconds: recorded.settle())
    return recorded


def reset(port: RecordedPort, **how: object) -> list[Lines]:
    """The states in which the lines were left for a while."""
    port.states.clear()
    port.settled.clear()
    asyncio.run(reset_by_lines("x", **how))  # type: ignore[arg-type]
    port.settle()
    return port.settled


def test_both_lines_are_asserted_before_the_port_is_opened(port: RecordedPort) -> None:
    reset(port)
    assert port.states[0] == (True, True)


def test_the_usual_wiring_runs_or_waits_as_asked(port: RecordedPort) -> None:
    assert transistors(reset(port)) == ["run"]
    assert transistors(reset(port, download=True)) == ["download"]


def test_lines_without_transistors_do_too(port: RecordedPort) -> None:
    assert direct(reset(port))[-1] == "run"
    assert direct(reset(port, download=True))[-1] == "download"


def test_lines_that_are_exchanged_or_inverted_are_named_in_the_bench(port: RecordedPort) -> None:
    swapped = [
        (rts, dtr) for dtr, rts in reset(port, download=True, pins=Pins(en="dtr", io0="rts"))
    ]
    assert transistors(swapped) == ["download"]
    inverted = Pins(en="!rts", io0="!dtr")
    flipped = [(not dtr, not rts) for dtr, rts in reset(port, download=True, pins=inverted)]
    assert transistors(flipped) == ["download"]
    assert transistors([(not d, not r) for d, r in reset(port, pins=inverted)]) == ["run"]


def test_a_usb_jtag_is_asked_its_own_way(port: RecordedPort) -> None:
    reset(port, usb_jtag=True)
    assert usb_jtag(port.states) == ["run"]
    reset(port, download=True, usb_jtag=True)
    assert usb_jtag(port.states) == ["download"]


def test_an_adapter_that_moves_rts_by_itself_is_left_so_that_it_resets_nothing(
    port: RecordedPort,
) -> None:
    master, slave = pty.openpty()
    port.fileno = lambda: slave  # type: ignore[attr-defined]
    try:
        ran = list(reset(port, flow_control=True))
        waits = reset(port, download=True, flow_control=True)
        hangs_up = termios.tcgetattr(slave)[2] & termios.HUPCL
    finally:
        os.close(master)
        os.close(slave)

    assert (transistors(ran), transistors(waits)) == (["run"], ["download"])
    assert [states[-1][0] for states in (ran, waits)] == [True, True]  # EN is high whatever RTS is
    assert not hangs_up


def test_a_cp2102c_is_told_from_other_cp210x() -> None:
    one, other = (ListPortInfo(f"/dev/ttyUSB{n}") for n in range(2))
    one.vid, one.pid, other.vid, other.pid = 0x10C4, 0xEA64, 0x10C4, 0xEA60

    assert [port.bridge for port in attached(lambda: [one, other])] == [
        FLOW_CONTROL,
        "Silicon Labs CP210x",
    ]


def test_the_bench_has_the_last_word_on_what_kind_it_is() -> None:
    assert sequence(Pins(usb_jtag=False), usb_jtag=True) == sequence(Pins())
    assert sequence(Pins(usb_jtag=True)) == sequence(Pins(), usb_jtag=True)


def test_a_sequence_of_ones_own_is_played_as_it_is(port: RecordedPort) -> None:
    states = reset(port, pins=Pins(reset="R1|D0|W0.5|R0"))
    assert states[-1] == (False, False)
    assert sequence(Pins(download="D1"), download=True) == "D1"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"en": "cts"}, "en: 'cts' is no line"),
        ({"en": "dtr"}, "io0: en and io0 cannot be one line"),
        ({"reset": "D2"}, "reset: 'D2' is no reset sequence"),
        ({"reset": "W99"}, "at most 30 s"),
        ({"download": "|"}, "download: '|' is no reset sequence"),
        ({"open": "up"}, "open: 'up'"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, str], words: str) -> None:
    with pytest.raises(BenchError) as caught:
        Pins(**keys)  # type: ignore[arg-type]
    assert words in caught.value.message


@pytest.mark.parametrize(("asserted", "lines"), [(True, (True, True)), (False, (False, False))])
def test_a_console_asks_for_both_lines_before_it_opens(
    asserted: bool, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[RecordedPort] = []

    class Recorded(RecordedPort):
        def __init__(self, **_: object) -> None:
            super().__init__((False, True))
            opened.append(self)
            self.port = ""

        def fileno(self) -> int:
            return -1

    monkeypatch.setattr(sources.serial, "Serial", Recorded)
    master, slave = pty.openpty()
    try:
        sources.open_source(os.ttyname(slave), asserted=asserted)
    finally:
        os.close(master)
        os.close(slave)
    assert opened[0].states == [lines]
    assert transistors(opened[0].states) == []


def test_a_port_without_permission_names_group_and_the_rule_for_its_adapter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = ListPortInfo("/dev/ttyUSB7")  # made: no adapter is attached here
    adapter.vid, adapter.pid = 0x1A86, 0x55D3
    monkeypatch.setattr(list_ports, "comports", lambda: [adapter])
    denied = PermissionError(13, "Permission denied")

    for refused in (port_trouble.refused, sources._refused):
        hint = str(refused(adapter.device, denied).hint)
        assert "usermod -aG" in hint
        assert 'ATTRS{idVendor}=="1a86", ATTRS{idProduct}=="55d3", TAG+="uaccess"' in hint


def test_a_busy_port_names_the_process() -> None:
    master, slave = pty.openpty()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=[slave],
    )
    try:
        error = port_trouble.refused(os.ttyname(slave), OSError(16, "Device or resource busy"))
        assert f"(pid {holder.pid})" in error.message
    finally:
        holder.communicate()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file"), "is the board plugged in"),
        (ConnectionRefusedError(111, "refused"), "is the serial server running"),
        (OSError("[Errno 19] could not open port"), "is the board plugged in"),
        (ValueError("no"), "in bench.toml"),
    ],
)
def test_whatever_else_is_wrong_has_its_next_step(error: Exception, words: str) -> None:
    found = port_trouble.refused("socket://bench:1", error)
    assert isinstance(found, BoardError)
    assert words in str(found.hint)
