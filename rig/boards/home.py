"""Where the rig keeps what it knows of boards between calls."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """`$SENDSPIN_RIG_HOME`, else `sendspin-rig` in the user's state folder (XDG). Makes nothing."""
    if given := os.environ.get("SENDSPIN_RIG_HOME"):
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "sendspin-rig"


def symbols_folder() -> Path:
    """ELF files by their SHA-256 (`rig.triage.store`)."""
    return state_folder() / "symbols"
