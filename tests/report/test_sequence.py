"""The wire as a diagram."""

from __future__ import annotations

import json

from click.testing import CliRunner

from rig.commands.wire import command
from rig.errors import BenchError
from rig.history import Entry, HistoryStore
from rig.history import events as ev
from rig.history.store import encode
from rig.report.sequence import folded, line, steps


def _run(folder):
    with HistoryStore(folder / "history.jsonl") as store:
        for conn in (1, 2):
            store.append(
                ev.ConnectionOpened(
                    t=conn * 1_000_000,
                    conn=conn,
                    board="b",
                    server_id=f"s{conn}",
                    epoch_us=0,
                    local="l",
                    peer="p",
                )
            )
        store.append(ev.EarlyBytes(t=3_000_000, conn=2, size=9, head="81", type="<b>state</b>"))
        store.append(ev.UpgradeAnswered(t=4_000_000, conn=1, status=101))
        store.append(
            ev.Frame(
                t=5_500_000, conn=1, sender="device", opcode="text", size=12, type="client/hello"
            )
        )
        store.append(
            ev.Frame(
                t=6_000_000, conn=1, sender="server", opcode="text", size=7, type="server/hello"
            )
        )
    return folder


def test_one_connection_is_shown_without_the_others(tmp_path):
    done = CliRunner().invoke(command, [str(_run(tmp_path)), "--connection", "1"])
    assert done.exit_code == 0
    assert "s2" not in done.output
    hello, greeting = done.output.splitlines()[-2:]
    assert hello.endswith("client/hello (12 B)")
    assert "◀" in hello
    assert greeting.endswith("▶")
    assert "4.5 ms" in hello


def test_json_is_one_object_a_step(tmp_path):
    done = CliRunner().invoke(command, [str(_run(tmp_path)), "--json"])
    told = [json.loads(text) for text in done.output.splitlines()]
    assert [each["sender"] for each in told] == [None, None, "device", "device", "device", "server"]
    assert [each["notable"] for each in told] == [False, False, True, False, False, False]


def test_what_a_board_sent_is_escaped_on_the_page(tmp_path):
    page = tmp_path / "wire.html"
    done = CliRunner().invoke(command, [str(_run(tmp_path)), "--html", str(page)])
    assert done.exit_code == 0
    text = page.read_text()
    assert "&lt;b&gt;state" in text
    assert "<b>state" not in text


def test_a_folder_whose_name_is_no_utf_8_has_a_page_too(tmp_path):
    folder = tmp_path / "a\udcffb"
    folder.mkdir()
    page = tmp_path / "wire.html"
    done = CliRunner().invoke(command, [str(_run(folder)), "--html", str(page)])
    assert done.exit_code == 0
    assert "a\\udcffb" in page.read_text()


def test_no_line_is_wider_than_the_terminal_nor_obeyed_by_it():
    event = ev.WireError(t=0, conn=1, sender="device", text="\x1b[2J" + "x" * 500)
    (step,) = steps([Entry(1, event)])
    text = line(step, width=80)
    assert len(text) <= 80
    assert "\x1b" not in text


def test_a_connection_that_is_not_there_is_named_with_those_that_are(tmp_path):
    done = CliRunner().invoke(command, [str(_run(tmp_path)), "--connection", "9"])
    assert isinstance(done.exception, BenchError)
    assert "no connection 9" in done.exception.message
    assert "from 1 to 2" in done.exception.hint


def test_media_that_follow_each_other_are_one_line_and_json_has_them_all(tmp_path):
    folder = _run(tmp_path)
    with (folder / "history.jsonl").open("ab") as file:
        for n in range(5):
            frame = ev.Frame(
                t=(7 + n) * 1_000_000, conn=1, sender="server", opcode="binary", size=100
            )
            file.write(encode(Entry(7 + n, frame)))
    text = CliRunner().invoke(command, [str(folder)]).output
    assert "binary, 5 of them (500 B)" in text
    assert text.count("binary") == 1
    lines = CliRunner().invoke(command, [str(folder), "--json"]).output.splitlines()
    assert sum("binary" in each for each in lines) == 5


def test_sealed_media_are_one_line_too_without_their_outside():
    entries = []
    for n in range(1, 9, 2):
        for event, sealed in ((n, None), (n + 1, n)):
            frame = ev.Frame(t=n, conn=1, sender="server", opcode="binary", size=100, sealed=sealed)
            entries.append(Entry(event, frame))
    assert [step.words for step in folded(steps(entries))] == ["binary, sealed, 4 of them (400 B)"]


def test_the_format_of_the_audio_is_shown(tmp_path):
    folder = _run(tmp_path)
    chosen = ev.FormatChosen(t=7_000_000, conn=1, asked=("flac",), given="pcm", place=None)
    with (folder / "history.jsonl").open("ab") as file:
        file.write(encode(Entry(7, chosen)))
    text = CliRunner().invoke(command, [str(folder)]).output
    assert "audio is pcm; asked: flac" in text


def test_of_a_device_that_dialled_the_upgrade_goes_the_other_way():
    opened = ev.ConnectionOpened(
        t=0,
        conn=1,
        board="b",
        server_id="s",
        epoch_us=0,
        local="l",
        peer="p",
        dialled_by="device",
    )
    asked = ev.UpgradeAsked(t=1, conn=1)
    answered = ev.UpgradeAnswered(t=2, conn=1, status=101)
    told = steps(Entry(n, event) for n, event in enumerate((opened, asked, answered), 1))
    assert [step.arrow for step in told] == ["mark", "left", "right"]
