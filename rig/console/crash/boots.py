"""The ROM's and the boot loader's lines, and how the application names itself."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rig.console.crash import chips, forms
from rig.console.crash.line import Handler, Line
from rig.console.crash.text import LIKE

if TYPE_CHECKING:
    from rig.console.crash.reader import CrashReader


def _banner(reader: CrashReader, line: Line) -> bool:
    """`ESP-ROM:esp32c3-api1-20210207`, `ets Jun  8 2016 00:22:57`."""
    found, chip = _banner_in(line.text)
    if found:
        reader.banner(chip)
    return found


@lru_cache(LIKE)
def _banner_in(text: str) -> tuple[bool, str | None]:
    """Whether this is a ROM's banner, and the chip that it names."""
    if not forms.BANNER.match(text):
        return False, None
    return True, chips.chip_of_banner(text)


def _reset(reader: CrashReader, line: Line) -> bool:
    found = _reset_in(line.text)
    if found is not None:
        reader.reset(*found, line)
    return found is not None


@lru_cache(LIKE)
def _reset_in(text: str) -> tuple[int, str | None, int | None, str | None] | None:
    """Code and name of the reset, value and name of the strapping."""
    if not (match := forms.RESET.match(text)):
        return None
    boot = match["boot"]
    code, strapping = int(match["code"][:10], 16), int(boot[:10], 16) if boot else None
    return code, match["name"], strapping, match["mode"]


def _rebooting(reader: CrashReader, line: Line) -> bool:
    """`Rebooting...` on a line of its own: the panic handler's, not an application's."""
    if not forms.REBOOTING.match(line.body):
        return False
    reader.ends()
    return True


def _application(reader: CrashReader, line: Line) -> bool:
    if match := forms.APP_VERSION.search(line.text):
        reader.version = match["version"]
    if match := forms.APP_SHA.search(line.text):
        reader.boot_sha = match["sha"]
    return False


def _failed(reader: CrashReader, line: Line) -> bool:
    if not (match := forms.BOOT_FAILED.search(line.text)):
        return False
    reader.boot_failed(match[0])
    return True


TABLE: tuple[tuple[tuple[str, ...], Handler], ...] = (
    (("esp-rom:", "ets "), _banner),
    (("rst:",), _reset),
    (("rebooting...", "cpu halted", "gdb stub now"), _rebooting),
    (("app version", "elf file sha"), _application),
    (
        ("invalid header", "flash read err", "csum err", "checksum fail", "bootable",
         "partition table error", "ets_main.c"),
        _failed,
    ),
)  # fmt: skip
