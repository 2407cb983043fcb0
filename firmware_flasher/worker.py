"""The worker process: real esptool, used as a library, behind a pipe. Started by `flasher.py`.

esptool is licensed GPL-2.0-or-later and blocks: it lives in this process only, which nothing
else imports. One request comes in, events and one `Done` or `Failed` go out (`messages.py`).
When the parent's end of the pipe closes, this process ends at once, wherever it is: a killed
flasher leaves nobody behind on the port.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import termios
import threading
from typing import BinaryIO

from firmware_flasher.esptool_library import without_command_line

without_command_line()

from esptool.util import FatalError  # noqa: E402 (it is late on purpose)

from firmware_flasher.messages import (  # noqa: E402
    LENGTH,
    Down,
    Failed,
    Request,
    ResetAsked,
    ResetDone,
    Up,
    body_length,
    pack,
    unpack_down,
)
from firmware_flasher.operations import Refused  # noqa: E402
from firmware_flasher.session import Session  # noqa: E402


class Pipe:
    """The worker's end: messages out at once, messages in by a thread of their own."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self._inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="pipe", daemon=True).start()

    def _read(self) -> None:
        while True:
            prefix = self._reader.read(LENGTH.size)
            if len(prefix) < LENGTH.size:
                os._exit(0)  # the parent is gone: nobody wants the rest
            self._inbox.put(self._reader.read(body_length(prefix)))

    def _next(self) -> Down:
        return unpack_down(self._inbox.get())

    def request(self) -> Request:
        """The request. Raises `TypeError` where something else comes first."""
        message = self._next()
        if isinstance(message, ResetDone):
            raise TypeError("expected a request, got an answer")
        return message

    def emit(self, message: Up) -> None:
        """Send one message."""
        with self._lock:
            self._writer.write(pack(message))
            self._writer.flush()

    def ask_reset(self, *, download: bool, cold: bool = False) -> None:
        """Have the board's owner reset it, and wait until it is done."""
        self.emit(ResetAsked(download, cold))
        if not isinstance(self._next(), ResetDone):
            raise TypeError("expected the answer to a reset")


def main() -> None:
    """Serve one request and end. What is not foreseen ends in a traceback on standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends this process
    pipe = Pipe(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what some library prints must not get between the messages
    pipe.start()
    session = Session(pipe.emit, pipe.ask_reset)
    try:
        pipe.emit(session.serve(pipe.request()))
    except Refused as error:
        pipe.emit(Failed(session.step, str(error), kind=error.kind))
    except (FatalError, OSError, termios.error) as error:
        pipe.emit(failure(session.step, error))


def failure(step: str, error: Exception) -> Failed:
    """What was raised, as a message. pyserial's exceptions are `OSError`s; termios' are not."""
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, termios.error) and error.args:
        number = error.args[0]
    return Failed(
        step,
        str(error),
        exception=type(error).__name__,
        errno=number if isinstance(number, int) else None,
    )


if __name__ == "__main__":
    main()
