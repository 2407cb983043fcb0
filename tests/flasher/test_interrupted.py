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


def kill_at(number: int, board: Any, bundle: Path) -> bool:
    """Run the flasher, kill -9 it at its so-many-th event; whether that was one of writing."""
    with subprocess.Popen(
        [*COMMAND, str(bundle), "--port", board.path, *HERE, "--no-skip", "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        line = b""
        for _ in range(number):
            line = process.stderr.readline()
        process.send_signal(signal.SIGKILL)
    return b'"type":"writing"' in line


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
    torn = 0
    for seed in seeds:
        writing = kill_at(random.Random(seed).randrange(1, EVENTS), board, folder)
        events: list[Event] = []

        # The stub that was left running may be in the middle of a write, at its own rate.
        result = anyio.run(
            partial(flash, bundle, port, on_event=events.append, memory=default_folder())
        )

        assert result.verified == 3
        if writing:
            torn += 1
            assert any(isinstance(event, Interrupted) for event in events)
            assert result.written == 3
        assert board.flash.read_bytes()[app.offset : app.end] == app.data
    assert torn  # else the moments were not chosen well
