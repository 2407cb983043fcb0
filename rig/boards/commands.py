"""A command of the bench file (reset, power, talk): run to its end, with everything it started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from rig.errors import BoardError

SECONDS = 30.0
"""Longest that a command may take."""


@dataclass(frozen=True, slots=True)
class Run:
    """A shell command of the user's own: `{ run = "usbrelay 1" }`."""

    run: str


async def run_command(name: str, key: str, command: str | Sequence[str]) -> str:
    """Run the board's command, by /bin/sh or as words; what it said. Raises `BoardError`.

    `key`: what the command is for, in messages.
    """
    words = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
    line = command if isinstance(command, str) else " ".join(command)
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError as error:
        raise BoardError(
            f"{name}: its {key} command took longer than {SECONDS:.0f} s: {line}",
            hint="run it by hand; a command that stays must go to the background itself",
        ) from error
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        raise BoardError(
            f"{name}: its {key} command ended with {process.returncode}: {line}",
            hint=f"it said: {text[-500:].strip() or 'nothing'}",
        )
    return text
