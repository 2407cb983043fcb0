"""What crosses the link, line by line as it comes: nothing waits for whoever reads it."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
from collections.abc import Callable
from typing import Final

from rig.history import Entry
from rig.history.events import Frame
from rig.report.sequence import Diagram, Fold, Step, line

ROOM: Final = 5_000
"""Lines that wait to be written; a terminal that is held (Ctrl-S) loses those beyond."""
FOLD_MS: Final = 1_000.0
"""Media that follow each other are one line, at least so often."""
MOST: Final = 200
"""Lines a second that can be read: what is beyond is counted."""
FLUSH_S: Final = 2.0
"""How long the last lines may take to be written."""


class Writer:
    """Writes lines from a thread of its own, so that a slow terminal holds nobody up."""

    def __init__(self, write: Callable[[str], None], on_gone: Callable[[], None]) -> None:
        """`write` takes a line; `on_gone` is called, in the thread, when nobody reads any more."""
        self._write = write
        self._on_gone = on_gone
        self._lines: queue.Queue[str | None] = queue.Queue(ROOM)
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        """Write a line, soon."""
        if self._left_out and not self._lines.full():
            with contextlib.suppress(queue.Full):
                self._lines.put_nowait(f"... {self._left_out} lines left out: nobody read them")
                self._left_out = 0
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Write what waits, as far as somebody reads it."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=FLUSH_S)
        self._thread.join(FLUSH_S)

    def _run(self) -> None:
        while (text := self._lines.get()) is not None:
            try:
                self._write(text)
            except (OSError, ValueError):  # the reader has gone: `rig serve | head`
                self._on_gone()
                return


class LiveView:
    """Listens to a history and puts each step as a line; runs of media are one."""

    def __init__(
        self, put: Callable[[str], None], *, board: str = "", loud: Callable[[str], str] = str
    ) -> None:
        """`board` begins each line; `loud` colours what is notable."""
        self._put = put
        self._board = board
        self._loud = loud
        self._diagram = Diagram()
        self._fold = Fold(longest_ms=FOLD_MS)
        self._width = shutil.get_terminal_size((100, 24)).columns - len(board)
        self._told: set[tuple[int, str]] = set()
        """Connections and senders whose sealed frames are told with what is inside."""
        self._second = 0
        self._shown = 0

    def __call__(self, entry: Entry) -> None:
        """Take one entry of the history."""
        event = entry.event
        if isinstance(event, Frame):
            who = event.conn, event.sender
            if event.sealed is not None:
                self._told.add(who)
            elif event.opcode == "binary" and who in self._told:
                return  # its inside is told by itself
        if (step := self._diagram.step(entry)) is not None:
            for each in self._fold.take(step):
                self._line(each)

    def flush(self) -> None:
        """Put what is held back: a run of media."""
        for step in self._fold.rest():
            self._line(step)

    def _line(self, step: Step) -> None:
        second = int(step.ms // 1_000)
        if second != self._second:
            if (more := self._shown - MOST) > 0:
                self._put(f"{self._board}... {more} more in that second: `rig wire` has them")
            self._second, self._shown = second, 0
        self._shown += 1
        if self._shown > MOST:
            return
        text = self._board + line(step, width=self._width)
        self._put(self._loud(text) if step.loud else text)
