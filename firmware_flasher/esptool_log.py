"""esptool's own talk, taken off its hands as events. Runs in the worker process only."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from esptool.logger import TemplateLogger

from firmware_flasher.messages import Event, Log

_MARKUP = re.compile(r"\[/?(?:bold|dim|red|green|yellow|cyan|blue|not [a-z ]+)\]")


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
