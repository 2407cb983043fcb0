"""What the crash reader tells: a crash began, a crash is complete, a reset, a warning."""

from __future__ import annotations

from dataclasses import dataclass

from rig.history.crash import CrashRecord


@dataclass(frozen=True, slots=True)
class Began:
    """The first line that decides a crash was read. Its `Finished` follows."""

    kind: str
    """As `CrashRecord.kind`, as far as this line tells; the record may know better."""
    line: int
    """1-based line of the log."""
    text: str
    """The line, colours stripped."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A crash is complete, or as complete as the log is."""

    record: CrashRecord


@dataclass(frozen=True, slots=True)
class Reset:
    """The ROM's reset line: `rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)`."""

    line: int
    code: int
    name: str | None
    """Absent where the line is torn."""
    boot: int | None
    """Value of the strapping pins at reset."""
    boot_mode: str | None
    chip: str | None
    after_crash: bool
    """A crash, or the tail of one, was printed before it."""
    silent: bool
    """A watchdog or lock-up reset without any crash text."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Evidence that is no crash: a task watchdog that went on, a failed boot."""

    kind: str
    """`task_wdt`, `rtc_wdt` or `boot_failure`."""
    line: int
    text: str
    task: str | None = None
    backtrace: tuple[str, ...] = ()


CrashEvent = Began | Finished | Reset | Warned
"""Everything `CrashReader.feed` may return, in the order of the text."""
