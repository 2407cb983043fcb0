"""A flasher killed at any moment: the next one ends in a verified board, without anybody's help."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
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
    "seeds",
    [range(3), pytest.param(range(3, 50), marks=[pytest.mark.long, pytest.mark.timeout(300)])],
)
def test_after_a_kill_at_any_moment_the_next_flash_just_works(
    board: Any, build: Callable[..., Path], firmware: Any, seeds: range
) -> None:
    folder = build(files={"speaker.bin": firmware.app(filling=random.Random(1).randbytes(300_000))})
    bundle = load_bundle(folder)
    app = bundle.regions[-1]
    port = SerialPort(board.path, before="no-reset", after="no-reset")
    for seed in seeds:
        kill_after(random.Random(seed).uniform(0.15, 0.6), board, folder)

        # The stub that was left running may be in the middle of a write, at its own rate.
        result = anyio.run(partial(flash, bundle, port, skip_unchanged=seed % 2 == 0))

        assert result.verified == 3
        assert board.flash.read_bytes()[app.offset : app.end] == app.data
