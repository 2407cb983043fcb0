"""`rig triage`, `rig crashes`, `rig symbols`: what a user types and reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rig.commands.crashes import command as crashes
from rig.commands.symbols import command as symbols
from rig.commands.triage import command as triage
from rig.errors import RigError

GURU = "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled."
LOG = f"I (5) app: hello\n{GURU}\nBacktrace: 0x400d1234:0x3ffb0000\n\nRebooting...\n"
BOOT = "ets Jun  8 2016 00:22:57\n\nrst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\n"
CLOSING = ("httpd_thread", "httpd_server", "httpd_process_ctrl_msg", "httpd_sess_close")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "device.log"
    path.write_text(LOG + BOOT)
    return path


def call(command: Any, *words: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], input=stdin)


def test_json_is_one_object_a_log(log: Path, tmp_path: Path) -> None:
    (tmp_path / "quiet.log").write_text("nothing\n")
    run = call(triage, "--json", log, tmp_path / "quiet.log")
    first, second = [json.loads(line) for line in run.stdout.splitlines()]
    assert first["file"] == str(log)
    (crash,) = first["crashes"]
    assert (crash["kind"], crash["line"], crash["reason"]) == ("panic", 2, "LoadProhibited")
    assert crash["backtrace"] == ["0x400d1234"]
    assert crash["reset_reason"] == "SW_CPU_RESET"
    assert crash["uptime_ms"] == 5
    assert first["boots"] == [
        {
            "line": 8,
            "chip": "esp32",
            "boot": "0x13",
            "mode": "SPI_FAST_FLASH_BOOT",
            "after_crash": True,
        }
    ]
    assert first["resets"] == [
        {"line": 8, "code": "0xc", "reason": "SW_CPU_RESET", "silent": False}
    ]
    assert (second["crashes"], second["boots"]) == ([], [])


def test_the_text_names_crash_place_and_signature(log: Path) -> None:
    run = call(triage, log)
    assert run.exit_code == 0
    assert "panic, LoadProhibited, on core 0" in run.stdout
    assert f"{log}:2" in run.stdout
    assert "bad load | 0x400d1234" in run.stdout


def test_it_says_how_to_decode_what_no_elf_was_at_hand_for(log: Path) -> None:
    said = call(triage, log).stdout
    assert "one is not decoded: name the ELF file of the build (--elf build/app.elf" in said
    log.write_text("Brownout detector was triggered\n")
    assert "not decoded" not in call(triage, log).stdout


def test_down_a_pipe_a_long_signature_stays_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 40 + ".log")
    path.write_text(LOG)
    last = call(triage, path).stdout.splitlines()[-2]
    assert "bad load | 0x400d1234" in last
    assert f"{path}:2" in last


def test_repeats_are_one_line_with_a_count(tmp_path: Path) -> None:
    path = tmp_path / "loop.log"
    path.write_text((LOG + BOOT) * 5)
    run = call(triage, path)
    assert run.stdout.count("panic, LoadProhibited") == 1
    assert "5 crashes; 5 resets" in run.stdout


def test_standard_input_is_a_log() -> None:
    run = call(triage, "-", "--json", stdin=LOG.encode())
    assert json.loads(run.stdout)["crashes"][0]["line"] == 2


def test_a_panic_is_decoded_with_the_elf_that_is_given(
    panic: Callable[..., str], elf_of: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "c3.log"
    path.write_text(panic("v0.6.1", *CLOSING))
    run = call(triage, path, "--elf", elf_of("v0.6.1"), "--json")
    (crash,) = json.loads(run.stdout)["crashes"]
    assert [frame["function"] for frame in crash["decoded"]][:2] == [
        "httpd_sess_close",
        "httpd_process_ctrl_msg",
    ]


def test_an_unreadable_log_is_named_and_the_rest_is_read(log: Path, tmp_path: Path) -> None:
    run = call(triage, tmp_path / "gone.log", tmp_path, log)
    assert run.exit_code == 0
    assert "cannot read" in run.stderr
    assert "gone.log: No such file or directory" in run.stderr
    assert "Is a directory" in run.stderr
    assert "LoadProhibited" in run.stdout


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is empty"),
        (bytes(range(256)) * 8, "binary file"),
        (b"\x7fELF" + bytes(900), "binary"),
    ],
)
def test_what_is_hardly_a_log_is_told_and_read_all_the_same(
    tmp_path: Path, content: bytes, word: str
) -> None:
    path = tmp_path / "what"
    path.write_bytes(content)
    run = call(triage, path, "--json")
    assert run.exit_code == 0
    assert word in run.stderr
    assert json.loads(run.stdout)["crashes"] == []


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_a_log_in_any_encoding_is_not_called_binary(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.log"
    path.write_text("\x1b[0;32mI (30) caf\u00e9: on\x1b[0m\n" * 9, encoding=encoding)
    assert call(triage, path).stderr == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_log_without_permission_is_named(log: Path) -> None:
    log.chmod(0)
    run = call(triage, log)
    assert "Permission denied" in run.stderr


def test_a_name_that_is_no_utf8_is_read_all_the_same(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.log")
    Path(path).write_text(LOG)
    run = call(triage, "--json", path)
    assert json.loads(run.stdout)["crashes"][0]["line"] == 2
    assert call(triage, path).exit_code == 0


def test_if_nothing_can_be_read_it_is_wrong_use(tmp_path: Path) -> None:
    run = call(triage, tmp_path / "gone.log")
    assert isinstance(run.exception, RigError)
    assert run.exception.exit_code == 2


def test_what_is_no_elf_is_wrong_use(log: Path) -> None:
    run = call(triage, log, "--elf", log)
    assert isinstance(run.exception, RigError)
    assert run.exception.exit_code == 2
    assert "is no ELF file" in str(run.exception)


def test_a_broken_database_is_told_and_triage_goes_on(log: Path, home: Path) -> None:
    home.mkdir()
    (home / "crashes.sqlite").write_bytes(b"not a database" * 100)
    run = call(triage, log)
    assert run.exit_code == 0
    assert "is broken" in run.stderr
    assert "LoadProhibited" in run.stdout


def test_the_same_log_twice_is_known_and_counts_once(log: Path) -> None:
    call(triage, log)
    run = call(triage, log)
    assert "bucket 1, seen once" in run.stdout


def test_check_fails_unless_the_crash_is_expected(log: Path) -> None:
    assert call(triage, log, "--check").exit_code == 1
    assert call(crashes, "mark", "1", "expected").exit_code == 0
    assert call(triage, log, "--check").exit_code == 0


def test_a_fixed_crash_that_comes_back_is_called_a_regression(log: Path, tmp_path: Path) -> None:
    call(triage, log)
    call(crashes, "mark", "1", "fixed", "--in", "v0.6.2", "--note", "closed twice")
    later = tmp_path / "later.log"
    later.write_text("I (9) app_init: App version:      v0.7.0\n" + LOG)
    assert "REGRESSION: bucket 1 was fixed and is back" in call(triage, later).stdout
    assert "REGRESSION" in call(crashes).stdout
    shown = call(crashes, "show", "1").stdout
    assert "closed twice" in shown
    assert "regression" in shown


def test_show_gives_stack_log_and_occurrences(log: Path) -> None:
    call(triage, log)
    run = call(crashes, "show", "1")
    assert "0x400d1234" in run.stdout
    assert "I (5) app: hello" in run.stdout
    assert f"{log}:2" in run.stdout


def test_crashes_as_json(log: Path) -> None:
    call(triage, log)
    (bucket,) = json.loads(call(crashes, "--json").stdout)
    assert (bucket["signature"], bucket["count"]) == ("bad load | 0x400d1234", 1)


def test_no_crash_is_said_in_words() -> None:
    assert call(crashes).stdout == "no crash is known\n"
    assert call(crashes, "--since", "7d").stdout == "no crash is known that fits\n"


@pytest.mark.parametrize("words", [["--since", "yesterday"], ["show", "x"], ["mark", "1", "odd"]])
def test_wrong_words_are_wrong_use(words: list[str]) -> None:
    assert call(crashes, *words).exit_code == 2


def test_show_of_no_bucket_is_wrong_use() -> None:
    run = call(crashes, "show", "7")
    assert isinstance(run.exception, RigError)
    assert run.exception.exit_code == 2


def test_symbols_are_added_listed_used_and_removed(
    panic: Callable[..., str], elf_of: Callable[[str], Path], tmp_path: Path
) -> None:
    added = call(symbols, "add", elf_of("v0.6.1").parent)
    prefix = added.stdout.split()[0]
    assert prefix in call(symbols, "list").stdout
    path = tmp_path / "c3.log"
    path.write_text(panic("v0.6.1", *CLOSING))
    assert "bad load | httpd_sess_close" in call(triage, path).stdout
    assert call(symbols, "remove", prefix).exit_code == 0
    assert call(symbols, "list", "--json").stdout.strip() == "[]"


def test_adding_nothing_is_wrong_use(tmp_path: Path) -> None:
    run = call(symbols, "add", tmp_path)
    assert isinstance(run.exception, RigError)
    assert run.exception.exit_code == 2
