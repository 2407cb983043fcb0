"""A board's power switch: two commands, or a USB hub that uhubctl can switch port by port.

uhubctl (github.com/mvp/uhubctl) switches hubs with per-port power switching, of which there are
few; its words: `uhubctl -l HUB -p PORT -a on|off`, after which it prints the port's new status.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from rig.boards.commands import run_command
from rig.errors import BenchError, BoardError

OFF_SECONDS = 2.0
"""How long `rig power BOARD cycle` leaves it without power, unless the bench file says."""


@dataclass(frozen=True, slots=True)
class Power:
    """The `[boards.NAME.power]` table."""

    on: str | None = None
    """Shell commands that switch it."""
    off: str | None = None
    uhubctl: str | None = None
    """The hub's place, as uhubctl names it: `1-1`."""
    hub_port: int | None = None
    """The hub's port, from 1."""
    off_seconds: float = OFF_SECONDS

    def __post_init__(self) -> None:
        if self.uhubctl is not None:
            if self.on or self.off:
                raise BenchError("uhubctl: contradicts on and off", hint="one of the two ways")
            if not re.fullmatch(r"\d+(-\d+(\.\d+)*)?", self.uhubctl):
                raise BenchError(
                    f"uhubctl: '{self.uhubctl}' is no place of a hub", hint="'1-1', from `uhubctl`"
                )
            if self.hub_port is None or not 1 <= self.hub_port <= 127:
                raise BenchError(
                    "hub_port: expected the hub's port, from 1 on", hint="hub_port = 3"
                )
        elif not self.on or not self.off:
            raise BenchError(
                "on: expected the commands on and off, or uhubctl and hub_port",
                hint="on = 'COMMAND' and off = 'COMMAND'",
            )
        if not 0 <= self.off_seconds <= 600:
            raise BenchError("off_seconds: expected 0 to 600 seconds", hint="2")


async def switch(name: str, power: Power, on: bool) -> None:
    """Switch the board's supply, and see that it did. Raises `BoardError`, `BenchError`."""
    command = power.on if on else power.off
    if command is not None:
        await run_command(name, f"power {'on' if on else 'off'}", command)
        return
    if shutil.which("uhubctl") is None:
        raise BenchError(
            f"{name}: its power is switched by uhubctl, which is not on this machine",
            hint="install it (apt-get install uhubctl), or give it commands: on and off",
        )
    words = ["uhubctl", "-l", str(power.uhubctl), "-p", str(power.hub_port)]
    said = await run_command(name, "power", [*words, "-a", "on" if on else "off"])
    # "  Port 3: 0100 power" or "  Port 3: 0000 off", before and after; the last ones count.
    after = said.rpartition("New status")[2]
    states = re.findall(rf"Port {power.hub_port}: [0-9a-f]{{4}}(?: (\w+))?", after)
    if not states or any((state == "off") == on for state in states):
        raise BoardError(
            f"{name}: uhubctl did not switch port {power.hub_port} of hub {power.uhubctl} "
            f"{'on' if on else 'off'}",
            hint=f"it said: {' | '.join(said.split(chr(10)))[-400:] or 'nothing'}",
        )
