"""What a killed helper left behind: found in well under a millisecond, so every command may look.

Imports nothing but what any command has imported already.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

SUFFIX = ".journal"
POWERED_OFF = ".off"
"""Notes that the access point's supply is off (`rig.boards.ap_power`), locked likewise."""


def folder() -> Path:
    """Where journals lie: in `$SENDSPIN_RIG_HOME`, else in `sendspin-rig` in the XDG state home."""
    if own := os.environ.get("SENDSPIN_RIG_HOME"):
        return Path(own) / "air"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "sendspin-rig" / "air"


def leftovers(where: Path, suffix: str = SUFFIX) -> list[Path]:
    """Journals (or notes) whose helper (or rig) is dead: nobody holds their lock."""
    try:
        names = [entry.path for entry in os.scandir(where) if entry.name.endswith(suffix)]
    except OSError:
        return []  # there is no folder: nothing was ever begun
    return [Path(name) for name in sorted(names) if _abandoned(name)]


def _abandoned(name: str) -> bool:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # its helper has just ended in order
    except OSError:
        return True  # another user's: `rig heal` will say so
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
