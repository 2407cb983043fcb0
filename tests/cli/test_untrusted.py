"""What others wrote (a history in the mail, a log from a forum) does not command the terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rig import cli
from rig.errors import BoardError
from rig.history import HistoryStore
from rig.history import events as ev

EVIL = "x\x1b]52;c;aGk=\x07\x9b2J[bold]\N{RIGHT-TO-LEFT OVERRIDE}y"
PANIC = (
    f"I (10) boot: {EVIL}\n"
    f"Guru Meditation Error: Core  0 panic'ed (Load{EVIL}). Exception was unhandled.\n"
    "PC      : 0x400d1234  PS      : 0x00060030  A0      : 0x800d1111  A1      : 0x3ffb0000\n"
    "Backtrace: 0x400d1234:0x3ffb0000\nELF file SHA256: 0123456789abcdef\nRebooting...\n"
)


def _rig(*args: str) -> int:
    """`rig ARGS`: its exit code."""
    try:
        return cli.run(args)
    except SystemExit as left:
        return int(left.code or 0)


def _obeyed(text: str) -> str:
    """The characters in it that a terminal would obey."""
    return "".join(char for char in text if not char.isprintable() and char != "\n")


def _history(folder: Path, **firmware: object) -> str:
    with HistoryStore(folder / "history.jsonl") as store:
        store.append(ev.RunStarted(t=1, wall="", rig_version="", seed=1))
        named = {"name": EVIL, **firmware}
        store.append(ev.BoardDescribed(t=2, board=EVIL, board_kind=EVIL, firmware=named))
        checks = (EVIL, "no_crash")
        store.append(ev.ScenarioStarted(t=3, scenario=EVIL, checks=checks, required=checks))
        store.append(ev.CycleStarted(t=4, scenario=EVIL, cycle=1))
        store.append(ev.FaultAsked(t=5, fault=EVIL, id=1))
        store.append(ev.CrashBegan(t=6, board=EVIL, crash=1, kind=EVIL, line=1, text=EVIL))
        store.append(ev.CycleEnded(t=7, scenario=EVIL, cycle=1))
        store.append(ev.ScenarioEnded(t=8, scenario=EVIL, outcome="done"))
        store.append(ev.RunEnded(t=9, outcome=EVIL))
    return str(folder)


@pytest.mark.parametrize(("command", "code"), [("verdict", 1), ("wire", 0)])
def test_a_history_is_shown_and_not_obeyed(command, code, tmp_path, capsys):
    assert _rig(command, _history(tmp_path)) == code
    said = capsys.readouterr().out
    assert "52;c;aGk=" in said
    assert not _obeyed(said)


def test_a_log_is_shown_and_not_obeyed(tmp_path, capsys, home):
    log = tmp_path / "forum.log"
    log.write_text(PANIC)
    assert _rig("triage", str(log)) == 0
    assert _rig("crashes") == 0
    assert _rig("crashes", "show", "1") == 0
    said = capsys.readouterr().out
    assert said.count("panic, Load") == 2
    assert not _obeyed(said)


def test_an_error_is_shown_and_not_obeyed(monkeypatch, capsys):
    def fail(*_: object, **__: object) -> None:
        raise BoardError(f"{EVIL} is away", hint=f"ask {EVIL}")

    monkeypatch.setattr(cli.cli, "main", fail)
    assert _rig("boards") == 3
    said = capsys.readouterr().err
    assert "x\\x1b]52;c;aGk=\\x07\\x9b2J" in said
    assert not _obeyed(said)


@pytest.mark.parametrize("elf", ["/dev/zero", "a\0b", "pipe", "/nowhere"])
def test_a_history_cannot_make_the_rig_read_what_never_ends(elf, tmp_path, capsys):
    if elf == "pipe":
        elf = str(tmp_path / "pipe")
        os.mkfifo(elf)
    assert _rig("verdict", "--json", _history(tmp_path, elf=elf)) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "fail"
