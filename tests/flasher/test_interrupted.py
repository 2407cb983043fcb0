"""A flasher killed at any moment: the next one ends in a verified board, without anybody's help."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from firmware_flasher.flasher import flash
from firmware_flasher.loading import load_bundle
from firmware_flasher.port import SerialPort

COMMAND = [sys.executable, "-m", "firmware_flasher"]
HERE = ("--before", "no-reset", "--after", "no-reset")


def kill_after(seconds: float, board: Any, bundle: Path) -> None:
    """Start the flasher as a user would and kill -9 it after so long."""
    with subprocess.Popen(
        [*COMMAND, str(bundle), "--port", board.path, *HERE, "--no-skip"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(n, marks=pytest.mark.long) for n in range(4, 50))]
)
def test_after_a_kill_at_any_moment_the_next_flash_just_works(
    board: Any, build: Callable[..., Path], firmware: Any, seed: int
) -> None:
    moment = random.Random(seed)
    filling = moment.randbytes(300_000)
    folder = build(files={"speaker.bin": firmware.app(filling=filling)})
    kill_after(moment.uniform(0.15, 0.6), board, folder)
    bundle = load_bundle(folder)

    # The stub that was left running is in the middle of a write, at its own rate; no reset helps.
    result = anyio.run(flash, bundle, SerialPort(board.path, None, 921_600, "no-reset", "no-reset"))

    assert result.verified == 3
    app = bundle.regions[-1]
    assert board.flash.read_bytes()[app.offset : app.end] == app.data
