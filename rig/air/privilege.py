"""Who may touch the network: capabilities, and the ways to a process that has them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from rig.errors import FaultError

LAUNCHER = "SENDSPIN_RIG_AIR_LAUNCHER"
"""Environment variable: a command that runs the rest of its line with the capabilities."""
NEEDED = (
    "run the rig as root, allow `sudo -n` for it, or name a launcher that gives cap_net_admin and "
    f"cap_net_raw in ${LAUNCHER} (docs/air.md)"
)
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
_SECONDS = 5.0


def missing() -> list[str]:
    """The capabilities that this process lacks for the air."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return list(_CAPABILITIES)  # no Linux
    effective = next(
        (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0
    )
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def command(*arguments: str) -> list[str]:
    """The command line that starts the helper with the rights it needs.

    Raises `FaultError`, politely, when there is no way to them.
    """
    helper = [sys.executable, "-I", "-m", "rig.air.helper", *arguments]
    if not missing():
        return helper
    if launcher := os.environ.get(LAUNCHER):
        return [*shlex.split(launcher), *helper]
    sudo = shutil.which("sudo")
    if sudo and _sudo_asks_nothing(sudo, helper):
        return [sudo, "-n", "--", *helper]
    raise FaultError("packet and radio faults need rights that this process lacks", hint=NEEDED)


def _sudo_asks_nothing(sudo: str, helper: list[str]) -> bool:
    """Whether sudo runs this very line without a password: it may be the only one allowed."""
    try:
        asked = subprocess.run(
            [sudo, "-n", "-l", "--", *helper],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
