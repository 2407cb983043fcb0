"""The lines in which a starting application names itself -> `AppStarted`. Sans-I/O.

Source: ESP-IDF `esp_app_format` (`app_init`, from 5.0 on), `esp_system` (`cpu_start`, before).
"""

from __future__ import annotations

from collections.abc import Callable

from rig.history import Event
from rig.history.events import AppStarted, LogLine

APP_TAGS = frozenset({"app_init", "cpu_start"})
"""The log tags that `AppReader.read` knows."""

_FIELDS = {
    "Project name": "project",
    "App version": "version",
    "ELF file SHA256": "elf_sha256",
    "ESP-IDF": "idf",
}
_LAST = "idf"


class AppReader:
    """Follows one console.

    The application's lines come one by one; its event is given out with the last one (ESP-IDF's
    version), or when something else shows that no more will come: `end`.
    """

    def __init__(self, board: str) -> None:
        self._board = board
        self._fields: dict[str, str] = {}
        self._line = 0
        self._t = 0

    @property
    def pending(self) -> bool:
        """Whether an application has begun to name itself."""
        return bool(self._line)

    def read(self, line: LogLine, emit: Callable[[Event], object]) -> bool:
        """Read a line of one of `APP_TAGS`; whether it belongs to an application's name."""
        name, colon, value = (line.message or "").partition(":")
        if name == "Application information":
            self.end(emit)
            self._line, self._t = line.line, line.t
            return True
        field = _FIELDS.get(name)
        if not colon or field is None:
            return False
        if field in self._fields:  # an application that names itself again
            self.end(emit)
        if not self._line:  # its first line was lost
            self._line = line.line
        self._t = line.t
        self._fields[field] = value.strip().removesuffix("...")
        if field == _LAST:
            self.end(emit)
        return True

    def end(self, emit: Callable[[Event], object]) -> None:
        """Nothing more comes of the application that was naming itself, if any was."""
        if self._line and self._fields:
            emit(AppStarted(t=self._t, board=self._board, line=self._line, **self._fields))
        self._line, self._fields = 0, {}
