"""A worker process, started ahead of the request that it will serve.

Its start is mostly esptool's import, 0.4 s of a core: whoever knows early that a board will be
flashed starts one here and goes on loading. Imports little for that reason.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Self

_STDERR_TAIL = 2_000


class Worker:
    """A worker process that waits for its request on `socket`; a context manager.

    It ends with its parent, too.
    """

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "firmware_flasher.worker"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._stderr,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is the parent's to handle
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Kill it, wherever it is, and let go of all that belongs to it. Idempotent."""
        self._process.kill()
        self._process.wait()
        self.socket.close()
        self._stderr.close()

    def last_words(self) -> str:
        """Of a worker that ended by itself: its exit code, and the end of its traceback."""
        code = self._process.wait()
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL))
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        said = " | ".join(line.strip() for line in lines[-3:]) or "it said nothing"
        return f"(exit code {code}): {said}"


def _environment() -> dict[str, str]:
    """This process's, with the package's own place in front: `-P` keeps the working folder out."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
