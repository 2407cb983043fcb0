"""`python -m firmware_flasher`, as people and machines run it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firmware_flasher.port import holders

COMMAND = [sys.executable, "-m", "firmware_flasher"]
HERE = ("--before", "no-reset", "--after", "no-reset")
Build = Callable[..., Path]


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=60, check=False
    )


def test_flashing_ends_with_one_line_and_zero(board: Any, build: Build) -> None:
    done = run(build(), "--port", board.path, *HERE)

    assert done.returncode == 0
    assert "3 regions written, 0 unchanged, 3 verified" in done.stdout
    assert "[3/3] speaker.bin at 0x10000: verified" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr  # a pipe gets no colours


def test_json_gives_one_object_and_events_beside_it(board: Any, build: Build) -> None:
    done = run(build(), "--port", board.path, *HERE, "--json")

    result = json.loads(done.stdout)
    assert (result["written"], result["verified"]) == (3, 3)
    assert result["chip"]["mac"] == "f4:12:40:a1:b2:c3"
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"connecting", "chip", "stub", "writing", "verified"} <= {e["type"] for e in events}


def test_an_error_in_json_is_one_object_too(build: Build) -> None:
    done = run(build(), "--port", "/dev/nowhere", "--json")

    error = json.loads(done.stdout)
    assert error["error"] == "PortMissing"
    assert error["next"]
    assert done.returncode == 2


def test_a_flashed_board_passes_check_and_another_bundle_does_not(
    board: Any, build: Build, firmware: Any
) -> None:
    run(build(), "--port", board.path, *HERE)
    other = build(name="other", files={"speaker.bin": firmware.app(version="v9")})

    assert run(build(), "--check", "--port", board.path, *HERE).returncode == 0
    failed = run(other, "--check", "--port", board.path, *HERE)
    assert failed.returncode == 1
    assert "does not hold speaker.bin" in failed.stderr


def test_info_names_the_chip(board: Any) -> None:
    done = run("--info", "--port", board.path, *HERE)

    assert done.returncode == 0
    assert "ESP32-C3" in done.stdout
    assert "MAC f4:12:40:a1:b2:c3, flash 4096 KiB" in done.stdout


def test_the_wrong_chip_is_two(board: Any) -> None:
    done = run("--info", "--chip", "esp32s3", "--port", board.path, *HERE)

    assert done.returncode == 2
    assert "expected an ESP32-S3" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("--port", "/dev/null"),
        ("x", "--info", "--port", "/dev/null"),
        ("--check", "--port", "/dev/null"),
        ("x",),
        ("x", "--port", "/dev/null", "--baud", "fast"),
        ("x", "--port", "/dev/null", "--before", "never"),
        ("nowhere", "--port", "/dev/null"),
    ],
)
def test_wrong_use_is_two_with_one_clear_error(args: tuple[str, ...]) -> None:
    done = run(*args)

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr


def test_help_shows_examples() -> None:
    done = run("--help")

    assert done.returncode == 0
    assert "python -m firmware_flasher build/ --port /dev/ttyUSB0" in done.stdout


def test_verbose_shows_esptools_own_words(board: Any) -> None:
    assert "esptool: Connecting" in run("--info", "--verbose", "--port", board.path, *HERE).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ending_the_flasher_frees_the_port(
    board: Any, build: Build, number: signal.Signals
) -> None:
    board.wire.silent_after = 20_000
    with subprocess.Popen(
        [*COMMAND, str(build()), "--port", board.path, *HERE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "partition-table.bin at 0x8000: verified" in line:
                break
        workers = [os.pidfd_open(holder.pid) for holder in holders(board.path)]
        assert len(workers) == 1

        process.send_signal(number)

        assert process.wait(timeout=20) == (130 if number is signal.SIGINT else -number)
        assert select.select(workers, [], [], 20)[0] == workers
        os.close(workers[0])
        if number is signal.SIGINT:
            assert "interrupted" in process.stderr.read()
    assert holders(board.path) == ()
