"""Lines of a boot -> `Boot` (the ROM's reset line), `AppStarted` (the application). Sans-I/O.

Sources: ROM output of ESP32 to ESP32-P4 as in `facts/esp-boot-and-flashing.md`; ESP-IDF
`esp_app_format` (`app_init` from 5.0 on) and `esp_system/startup` (`cpu_start` before).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rig.history import Event
from rig.history.events import AppStarted, Boot, LogLine

_RESET = re.compile(
    r"rst:0x([0-9a-f]{1,2}) \(([A-Z][A-Z0-9_]{1,40})"
    r"(?:\),boot:0x([0-9a-f]{1,3})(?: \(((?:[^()]|\([^()]{0,40}\)){1,60})\))?)?",
    re.IGNORECASE,
)
_ROM = re.compile(r"ESP-ROM:(esp32[a-z0-9]{0,6})")
_ROM_ESP32 = re.compile(r"ets (?:Jun  8 2016|Jul 29 2019)")
"""The ESP32's own ROMs; later chips say `ESP-ROM:`."""

APP_TAGS = frozenset({"app_init", "cpu_start"})
_FIELDS = {
    "Project name": "project",
    "App version": "version",
    "ELF file SHA256": "elf_sha256",
    "ESP-IDF": "idf",
}
_LAST = "idf"


class BootReader:
    """Follows one console through its boots. Call `app` for records of `APP_TAGS`.

    The application's lines come one by one; its event is given out with the last one (ESP-IDF's
    version), or when something else shows that no more will come: `end`.
    """

    def __init__(self, board: str) -> None:
        self._board = board
        self._chip: str | None = None
        self._fields: dict[str, str] = {}
        self._line = 0
        self._t = 0

    @property
    def pending(self) -> bool:
        """Whether an application has begun to name itself."""
        return bool(self._line)

    def rom(self, line: LogLine, emit: Callable[[Event], object]) -> None:
        """Read a line for what the ROM prints: chip and reset line."""
        if rom := _ROM.search(line.text):
            self._chip = rom[1].lower()
        elif _ROM_ESP32.search(line.text):
            self._chip = "esp32"
        match = _RESET.search(line.text)
        if match is None:
            return
        self.end(emit)
        code, name, boot_code, mode = match.groups()
        emit(
            Boot(
                t=line.t,
                board=self._board,
                line=line.line,
                reset_code=int(code, 16),
                reset_name=name,
                boot_code=None if boot_code is None else int(boot_code, 16),
                boot_mode=mode,
                chip=self._chip,
            )
        )
        self._chip = None

    def app(self, line: LogLine, emit: Callable[[Event], object]) -> None:
        """Read a record of one of `APP_TAGS`."""
        name, colon, value = (line.message or "").partition(":")
        if name == "Application information":
            self.end(emit)
            self._line, self._t = line.line, line.t
            return
        field = _FIELDS.get(name)
        if not colon or field is None:
            return
        if field in self._fields:  # an application that names itself again
            self.end(emit)
        if not self._line:  # its first line was lost
            self._line = line.line
        self._t = line.t
        self._fields[field] = value.strip().removesuffix("...")
        if field == _LAST:
            self.end(emit)

    def end(self, emit: Callable[[Event], object]) -> None:
        """Nothing more comes of the application that was naming itself, if any was."""
        if self._line and self._fields:
            emit(AppStarted(t=self._t, board=self._board, line=self._line, **self._fields))
        self._line, self._fields = 0, {}
