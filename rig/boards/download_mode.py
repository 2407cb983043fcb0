"""Boards that wait in their ROM's download mode where they should boot: seen, and brought out.

It happens by itself: a line that was left asserted, a strapping pin held by what is soldered to it,
a USB-Serial-JTAG whose reset "succeeds" and leaves the request in place (esptool's troubleshooting
guide). A second reset mends the first kind, power the last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from rig.boards.base import Board, Powered
from rig.errors import BoardError
from rig.history.events import Boot

Way = Literal["reset", "power-cycle"]

_LOADER = re.compile(r"DOWNLOAD|UART\d?_BOOT|USB_BOOT|SDIO_\w*BOOT", re.IGNORECASE)
"""Boot modes in which the ROM waits for a loader (the names in its reset line, by chip)."""


class InDownloadMode(Exception):
    """The board said on its console that it waits for a loader."""


def waits_for_loader(boot: Boot) -> bool:
    """Whether that boot ended in download mode."""
    return bool(boot.boot_mode and _LOADER.search(boot.boot_mode))


def ways_out(board: Board) -> list[Way]:
    """What may bring it out, the mildest first."""
    ways: list[Way] = ["reset"] if board.can_reset else []
    return [*ways, "power-cycle"] if isinstance(board, Powered) and board.can_power else ways


def stuck(name: str, tried: Sequence[Way]) -> BoardError:
    """The error for a board that nothing brought out."""
    done = f" after {' and '.join(tried)}" if tried else ""
    return BoardError(
        f"{name} is stuck in download mode{done}: its ROM waits for a loader and boots no firmware",
        hint="let go of its BOOT button, look at what pulls IO0 (IO9 on a C3) low, unplug and plug "
        "it in again; `power` in its bench table lets the rig do that",
    )
