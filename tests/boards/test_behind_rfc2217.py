"""A board behind a serial server that carries DTR and RTS: everything a bench does, over TCP."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import cli
from rig.boards.virtual.board import VirtualBoard, VirtualSettings
from tests.rfc2217_server import Server

pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # pyserial's
BUNDLE = Path(__file__).parents[2] / "fixtures" / "firmware" / "v0.7.0"
Capsys = pytest.CaptureFixture[str]


class AutoReset:
    """The two transistors between the lines and the chip: EN and IO0 (esp-boot: `pins`)."""

    def __init__(self, board: VirtualBoard) -> None:
        self._board = board
        self._running = True
        self.resets: list[bool] = []
        """Each reset: whether into the loader."""

    def __call__(self, dtr: bool, rts: bool) -> None:
        running = not (rts and not dtr)
        if running and not self._running:
            # The capacitor at EN is slow: esptool has IO0 low by the time that the chip looks.
            self.resets.append(dtr)
            asyncio.run(self._board.reset(download=dtr))
        elif running and dtr and not rts and self.resets and not self.resets[-1]:
            self.resets[-1] = True
            asyncio.run(self._board.reset(download=True))
        self._running = running


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AutoReset]:
    """`attic` in bench.toml: a virtual board behind such a server."""
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "rig"))
    monkeypatch.delenv("SENDSPIN_RIG_BENCH", raising=False)
    monkeypatch.chdir(tmp_path)
    board = VirtualBoard("behind", VirtualSettings(home=tmp_path / "chip", namespace=False))
    asyncio.run(board.power(True))
    server = Server(os.path.realpath(tmp_path / "chip" / "uart"))
    server.port.on_lines = lines = AutoReset(board)
    Path("bench.toml").write_text(f'[boards.attic]\nport = "{server.url}"\n')
    try:
        yield lines
    finally:
        server.port.on_lines = lambda _dtr, _rts: None
        server.close()
        assert asyncio.run(board.unplug())


def test_it_is_flashed_booted_and_reset_by_its_lines(bench: AutoReset, capsys: Capsys) -> None:
    assert cli.run(["flash", "attic", str(BUNDLE), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verified"], report["booted"]) == (4, True)
    assert True in bench.resets
    assert bench.resets[-1] is False

    before = len(bench.resets)
    assert cli.run(["reset", "attic"]) == 0
    assert bench.resets[before:] == [False]


@pytest.mark.long  # esptool over RFC 2217 takes 6 s to connect, by pyserial's own waits
def test_it_is_probed_and_read_by_its_lines(bench: AutoReset, capsys: Capsys) -> None:
    assert cli.run(["flash", "attic", str(BUNDLE), "--no-boot", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)

    assert cli.run(["boards", "--probe", "--json"]) == 0
    out = capsys.readouterr().out
    rows = json.loads(out[out.index("[") :])
    row = next(row for row in rows if row["board"] == "attic")
    assert (row["mac"], row["firmware"]) == (report["mac"], report["firmware"])

    assert cli.run(["read-flash", "attic", "dump.bin", "--offset", "0x8000", "--size", "32"]) == 0
    assert Path("dump.bin").read_bytes()[:2] == b"\xaa\x50"
    assert bench.resets[-1] is False
