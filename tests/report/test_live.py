"""The live view: one line for a run of media, and nobody waits for who reads it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rig.history import Entry
from rig.history.events import ConnectionOpened, Frame, UpgradeAsked
from rig.report import live
from rig.report.live import LiveView, Writer

MS = 1_000_000


class Shown:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.view = LiveView(self.lines.append)
        self.n = 0

    def frame(self, at_ms: int, **fields: Any) -> None:
        self.n += 1
        told: dict[str, Any] = {"conn": 1, "sender": "server", "size": 100, "opcode": "binary"}
        self.view(Entry(self.n, Frame(t=at_ms * MS, **(told | fields))))


@pytest.fixture
def shown() -> Shown:
    return Shown()


def test_media_that_follow_each_other_are_one_line_a_second(shown) -> None:
    for at in range(0, 2_000, 100):
        shown.frame(at)
    shown.frame(2_000, opcode="text", type="stream/end", sender="server")
    assert [("11 of them" in line, "9 of them" in line) for line in shown.lines] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert "stream/end" in shown.lines[-1]


def test_a_sealed_frame_is_told_by_its_inside_alone(shown) -> None:
    shown.frame(0, opcode="binary")
    shown.frame(0, opcode="text", type="server/hello", sealed=1)
    shown.frame(1, opcode="binary")
    shown.frame(1, opcode="text", type="server/activate", sealed=3)
    assert len(shown.lines) == 3
    assert "server/activate, sealed" in shown.lines[-1]


def test_other_connections_are_told_apart(shown) -> None:
    shown.frame(0)
    shown.frame(1, conn=2)
    shown.view.flush()
    assert ["#1" in line for line in shown.lines] == [True, False]


def test_of_a_device_that_dialled_the_upgrade_goes_the_other_way(shown) -> None:
    where: dict[str, Any] = {"board": "b", "server_id": "s", "epoch_us": 0, "local": "l"}
    opened = ConnectionOpened(t=0, conn=1, peer="p", dialled_by="device", **where)
    for n, event in enumerate((opened, UpgradeAsked(t=1, conn=1)), 1):
        shown.view(Entry(n, event))
    assert "◀─" in shown.lines[-1]


def test_a_flood_is_counted_and_not_shown(shown) -> None:
    for _ in range(5_000):
        shown.frame(1, opcode="ping", sender="device")
    shown.frame(1_001, opcode="text", type="client/time", sender="device")
    assert len(shown.lines) == live.MOST + 2
    assert "4800 more in that second" in shown.lines[-2]


def test_a_reader_that_has_gone_is_told_once() -> None:
    gone = threading.Event()

    def write(_text: str) -> None:
        raise BrokenPipeError

    writer = Writer(write, gone.set)
    writer.put("a")
    assert gone.wait(10)
    writer.put("b")
    writer.close()


def test_a_reader_that_stands_still_holds_nobody_up(monkeypatch) -> None:
    monkeypatch.setattr(live, "ROOM", 3)
    go = threading.Event()
    written: list[str] = []

    def write(text: str) -> None:
        go.wait(10)
        written.append(text)

    writer = Writer(write, lambda: None)
    for n in range(100):
        writer.put(f"{n}")
    go.set()
    while writer._lines.qsize():
        threading.Event().wait(0.001)
    writer.put("last")
    writer.close()
    assert written[0] == "0"
    assert written[-1] == "last"
    assert "lines left out" in written[-2]
    assert len(written) < 10
