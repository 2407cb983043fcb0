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
from firmware_flasher.memory import default_folder
from firmware_flasher.messages import Event, Interrupted
from firmware_flasher.port import SerialPort

COMMAND = [sys.executable, "-m", "firmware_flasher"]
HERE = ("--before", "no-reset", "--after", "no-reset")
EVENTS = 60
"""How many events the flash below tells; a third of them while it writes."""


def kill_at(seed: int, board: Any, bundle: Path) -> None:
    """Run the flasher, and kill -9 it: at any of its events, or early in its long write."""
    moment = random.Random(seed)
    wanted, count = b"", moment.randrange(1, EVENTS)
    if seed % 2 == 0:
        wanted, count = b'"type":"writing","region":3', moment.randrange(1, 7)
    with subprocess.Popen(
        [*COMMAND, str(bundle), "--port", board.path, *HERE, "--no-skip", "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            count -= wanted in line
            if not count:
                break
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
    redone = 0
    for seed in seeds:
        kill_at(seed, board, folder)
        events: list[Event] = []

        # The stub that was left running may be in the middle of a write, at its own rate.
        result = anyio.run(
            partial(flash, bundle, port, on_event=events.append, memory=default_folder())
        )

        assert result.verified == 3
        if any(isinstance(event, Interrupted) for event in events):
            redone += 1
            assert result.written == 3
        assert board.flash.read_bytes()[app.offset : app.end] == app.data
    assert redone  # else the moments were not chosen well
