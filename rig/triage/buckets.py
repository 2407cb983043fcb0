"""What the crash database knows, as `rig.triage.memory` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rig.history.crash import CrashRecord
from rig.triage.decode import TaskStack

Mark = Literal["new", "known", "expected", "fixed"]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What memory says of a crash that was just stored."""

    bucket: int
    signature: str
    new_bucket: bool
    """It is the first of its kind."""
    repeated: bool
    """This very crash was stored before; nothing was added."""
    mark: Mark
    regression: bool
    """Its bucket was marked fixed, and this firmware should hold the fix."""
    count: int
    """Crashes in its bucket."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """All crashes of one signature."""

    id: int
    signature: str
    kind: str
    mark: Mark
    fixed_in: str | None
    note: str | None
    count: int
    first_seen: float
    """Seconds since the epoch, as `last_seen`."""
    last_seen: float
    firmwares: tuple[str, ...]
    boards: tuple[str, ...]
    regressions: int
    """Crashes since it was fixed."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One crash in memory."""

    id: int
    seen: float
    source: str
    line: int
    firmware: str | None
    board: str | None
    elf: str | None
    regression: bool
    frames: tuple[str, ...]
    record: CrashRecord
    """Without its core dump's lines."""
    tasks: tuple[TaskStack, ...] = ()
    """What its core dump said of each task."""
