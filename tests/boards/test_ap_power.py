"""The access point's power: off by the bench's commands, and on again whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from rig.air.airspace import Airspace
from rig.air.client import Radio
from rig.air.leftovers import POWERED_OFF, folder, leftovers
from rig.boards.ap_power import Supply, on_again
from rig.boards.bench import find_bench
from rig.boards.power import Power
from rig.campaign.radio import put_on_again, radio_of
from rig.errors import BenchError, BoardError, FaultError
from rig.faults import Target, strike
from rig.history import HistoryStore, now_ns
from rig.history.events import FaultSeen, LogLine, Packet


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mock of a switched socket: a file with the words that it was sent."""
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "home"))
    return tmp_path / "plug"


def power(plug: Path) -> Power:
    return Power(on=f"echo on >> {plug}", off=f"echo off >> {plug}")


def supply(plug: Path) -> Supply:
    return Supply(power(plug), folder(), POWERED_OFF)


def test_off_and_on_by_the_benchs_words_and_no_note_stays(plug: Path) -> None:
    async def play() -> None:
        switched = supply(plug)
        await switched.off()
        assert len(list(folder().iterdir())) == 1
        await switched.on()
        await switched.on()

    asyncio.run(play())
    assert plug.read_text().split() == ["off", "on"]
    assert not list(folder().iterdir())


def test_after_kill_9_any_rig_command_puts_it_on(plug: Path) -> None:
    code = (
        "import asyncio, time; from rig.air.leftovers import POWERED_OFF, folder\n"
        "from rig.boards.ap_power import Supply; from rig.boards.power import Power\n"
        f"power = Power(on='echo on >> {plug}', off='echo off >> {plug}')\n"
        "asyncio.run(Supply(power, folder(), POWERED_OFF).off()); print('off', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as rig:
        assert rig.stdout is not None
        assert rig.stdout.readline() == b"off\n"
        assert put_on_again(folder()).healed == []  # it lives
        rig.send_signal(signal.SIGKILL)
    done = subprocess.run(
        [sys.executable, "-m", "rig", "checks"], capture_output=True, text=True, check=True
    )
    assert "healed after a killed run: the access point's power was off" in done.stderr
    assert plug.read_text().split() == ["off", "on"]
    assert not list(folder().iterdir())


def test_a_note_is_nobodys_to_act_upon_before_it_is_locked_and_whole(
    plug: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    found: list[str] = []

    def fsync(fd: int) -> None:
        found.extend(each.name for each in folder().glob(f"*{POWERED_OFF}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)

    async def play() -> None:
        switched = supply(plug)
        await switched.off()
        assert not leftovers(folder(), POWERED_OFF)  # locked
        await switched.on()

    asyncio.run(play())
    assert found == []


def test_where_it_is_off_already_it_is_left_to_whoever_switched_it(plug: Path) -> None:
    async def play() -> None:
        first, second = supply(plug), supply(plug)
        await first.off()
        with pytest.raises(BoardError, match="File exists"):
            await second.off()
        await second.on()
        assert len(list(folder().iterdir())) == 1
        await first.on()

    asyncio.run(play())
    assert plug.read_text().split() == ["off", "on"]
    assert not list(folder().iterdir())


def test_one_that_does_not_come_on_is_said_and_its_note_stays(plug: Path) -> None:
    folder().mkdir(parents=True)
    note = folder() / f"access-point-1{POWERED_OFF}"
    note.write_bytes(msgspec.json.encode(Power(on="false", off="true")))
    note.chmod(0o600)
    assert "ended with 1: false" in put_on_again(folder()).left[0]
    assert note.exists()


@pytest.mark.parametrize("trap", ["writable", "link", "fifo", "junk"])
def test_a_note_that_another_could_have_written_runs_nothing(plug: Path, trap: str) -> None:
    folder().mkdir(parents=True)
    note, other = folder() / f"access-point-1{POWERED_OFF}", folder() / "other"
    other.write_bytes(msgspec.json.encode(power(plug)))
    other.chmod(0o600)
    if trap == "writable":
        other.chmod(0o622)
        other.rename(note)
    elif trap == "link":
        note.symlink_to(other)
    elif trap == "fifo":
        os.mkfifo(note)
    else:
        note.write_text('{"on": 5}')
    with pytest.raises((BenchError, OSError)):
        asyncio.run(on_again(note))
    assert not plug.exists()


def test_a_supply_that_does_not_go_off_is_a_fault_that_was_not_made(plug: Path) -> None:
    failing = Supply(Power(on=f"echo on >> {plug}", off="false"), folder(), POWERED_OFF)

    async def play() -> None:
        with pytest.raises(BoardError, match="ended with 1"):
            await failing.off()
        await failing.on()

    asyncio.run(play())
    assert plug.read_text() == "on\n"


def struck(
    tmp_path: Path,
    radio: Radio | None,
    *events: Any,
    within: float = 5.0,
    host: str | None = "10.0.0.9",
) -> tuple[object, list[object]]:
    """The fault's proof while `events` take place, and what the history says was seen."""

    async def play() -> tuple[object, list[object]]:
        history = HistoryStore(tmp_path / "history.jsonl")
        air = Airspace("kitchen", lambda: None, history, tmp_path, radio)
        board: Any = SimpleNamespace(name="kitchen", address=host and SimpleNamespace(host=host))

        async def act() -> None:
            for event in events:
                history.append(event)

        server: Any = None
        target = Target(history=history, board=board, server=server, air=air, act=act)
        seen: list[object] = []
        history.listen(lambda e: seen.append(e.event) if isinstance(e.event, FaultSeen) else None)
        try:
            return await strike("ap-power-off", target, within=within), seen
        finally:
            await air.aclose()

    return asyncio.run(play())


def log(text: str) -> LogLine:
    return LogLine(t=now_ns(), board="kitchen", text=text, line=1, offset=0)


def packet(source: str, *, again: bool = False) -> Packet:
    return Packet(
        t=now_ns(),
        board="kitchen",
        source=source,
        destination="x:1",
        flags="PA",
        seq=1,
        ack=1,
        length=4,
        window=1,
        retransmission=again,
    )


SERVER, BOARD = "10.0.0.1:40000", "10.0.0.9:8928"


@pytest.mark.parametrize(
    ("events", "proven"),
    [
        ([log("I (5120) wifi:state: run -> init (0x0)")], True),
        ([packet(SERVER, again=True), packet(SERVER, again=True)], True),
        ([packet(SERVER, again=True), packet(BOARD), packet(SERVER, again=True)], False),
        ([packet(SERVER), packet(SERVER)], False),
        ([log("I (5120) wifi:state: init -> auth (0xb0)")], False),
    ],
)
def test_it_is_proven_by_the_boards_log_or_by_what_it_does_not_answer(
    tmp_path: Path, plug: Path, events: list[Any], proven: bool
) -> None:
    radio = Radio(supply=supply(plug))
    proof, seen = struck(tmp_path, radio, *events, within=5.0 if proven else 0.1)
    assert (proof is not None) is proven
    assert bool(seen) is proven
    assert plug.read_text().split() == ["off", "on"]


@pytest.mark.parametrize("host", ["localhost", None])
def test_the_word_of_a_board_that_the_bench_knows_by_name_or_not_at_all_is_no_silence(
    tmp_path: Path, plug: Path, host: str | None
) -> None:
    again, word = packet(SERVER, again=True), packet("127.0.0.1:8928")
    radio = Radio(supply=supply(plug))
    assert struck(tmp_path, radio, again, word, again, within=0.1, host=host) == (None, [])


def test_a_bench_that_does_not_say_how_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="how the access point's power is switched"):
        struck(tmp_path, None)


def test_the_bench_says_how(tmp_path: Path, plug: Path) -> None:
    bench = tmp_path / "bench.toml"
    bench.write_text(
        '[network]\nssid = "lab"\npower = { uhubctl = "1-1", hub_port = 2 }\n'
        '[boards.kitchen]\naddress = "10.0.0.9"\n'
    )
    radio = radio_of(find_bench(bench))
    assert radio is not None
    assert radio.supply is not None
    bench.write_text('[network]\nssid = "lab"\npower = { on = "x" }\n')
    with pytest.raises(BenchError, match="expected the commands on and off"):
        find_bench(bench)
