"""Programs that the helper runs: from the system's own folders, with nothing of the caller's.

PATH, LD_PRELOAD and the like belong to whoever called sudo or a launcher.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence

from rig.errors import FaultError

FOLDERS = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 30.0


async def run(words: Sequence[str], *, hint: str) -> str:
    """Run a program; its standard output. Raises `FaultError`: `hint` says how to install it."""
    program = words[0] if "/" in words[0] else shutil.which(words[0], path=FOLDERS)
    if program is None:
        raise FaultError(f"{words[0]} is not on this machine", hint=hint)
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *words[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": FOLDERS, "LC_ALL": "C"},
        )
    except OSError as error:
        raise FaultError(f"{program} cannot be run: {error.strerror}", hint=hint) from error
    try:
        async with asyncio.timeout(_SECONDS):
            said, complaint = await process.communicate()
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise FaultError(f"{words[0]} did not end within {_SECONDS:g} s") from error
    if process.returncode != 0:
        last = (complaint or said).decode(errors="replace").strip()[-200:]
        raise FaultError(f"{' '.join(words[:3])} failed: {last or 'no word'}")
    return said.decode(errors="replace")
