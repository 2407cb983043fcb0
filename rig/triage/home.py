"""Where triage keeps what it remembers."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The rig's state folder: `$SENDSPIN_RIG_HOME`, else `sendspin-rig` in the XDG state home."""
    if own := os.environ.get("SENDSPIN_RIG_HOME"):
        return Path(own)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "sendspin-rig"


def symbols_folder() -> Path:
    """ELF files by hash, and the indexes made of them."""
    return home() / "symbols"


def database() -> Path:
    """The crashes known so far."""
    return home() / "crashes.sqlite"
