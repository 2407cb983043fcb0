"""esptool's own talk, taken off its hands as events. Runs in the worker process only."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from esptool.logger import TemplateLogger

from firmware_flasher.messages import Event, Log, Piece, Writing

_MARKUP = re.compile(r"\[/?(?:bold|dim|red|green|yellow|cyan|blue|not [a-z ]+)\]")
_WRITING_AT = re.compile(r"Writing at (0x[0-9a-f]+)")


class EventLogger(TemplateLogger):  # type: ignore[misc]
    """esptool's talk as events: lines as `Log`, its progress bar as whatever `progress` makes."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._line = ""
        self.progress: Callable[[int, int, str], None] | None = None

    def print(self, *args: Any, **kwargs: Any) -> None:
        """A line, or a part of one (`end=""`)."""
        self._line += " ".join(str(arg) for arg in args) + str(kwargs.get("end", "\n"))
        *lines, self._line = self._line.split("\n")
        for line in lines:
            self._say(line, "info")

    def _say(self, text: str, level: str) -> None:
        if text.strip():
            self._emit(Log(_MARKUP.sub("", text).replace("\\[", "[").rstrip(), level))

    def note(self, message: str) -> None:
        """A note."""
        self._say(str(message), "note")

    def warning(self, message: str) -> None:
        """A warning."""
        self._say(str(message), "warning")

    def error(self, message: str) -> None:
        """An error; what matters is raised as well."""
        self._say(str(message), "error")

    def stage(self, finish: bool = False) -> None:
        """Nothing collapses here."""

    def set_verbosity(self, verbosity: str) -> None:
        """Everything is kept."""

    def progress_bar(
        self,
        cur_iter: int,
        total_iters: int,
        prefix: str = "",
        suffix: str = "",  # noqa: ARG002 - esptool's signature
        bar_length: int = 30,  # noqa: ARG002
    ) -> None:
        """A step of whatever runs."""
        if self.progress is not None:
            self.progress(cur_iter, total_iters, prefix)


class Place:
    """One piece among all, as the events name it."""

    def __init__(self, region: int, regions: int, piece: Piece) -> None:
        self._region = region
        self._regions = regions
        self._piece = piece

    def fields(self) -> tuple[int, int, str, int, int]:
        """What most events say: region, regions, name, offset, size."""
        piece = self._piece
        return self._region, self._regions, piece.name, piece.offset, len(piece.data)

    def writing(self, done: int, total: int, prefix: str) -> Writing:
        """esptool counts compressed bytes; the address in its text counts real ones."""
        size = len(self._piece.data)
        at = _WRITING_AT.search(prefix)
        written = int(at[1], 16) - self._piece.offset if at else size * done // max(total, 1)
        region, regions, name, offset, _ = self.fields()
        return Writing(region, regions, name, offset, max(0, min(written, size)), size)
