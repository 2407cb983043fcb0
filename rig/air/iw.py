"""The power that an access point's radio sends with, by iw(8) and nl80211.

`iw dev DEVICE set txpower <auto|fixed|limit> [<tx power in mBm>]`; `iw dev DEVICE info` says
`txpower 20.00 dBm`. hostapd's control interface has no word for it.
"""

from __future__ import annotations

import re
import socket

from rig.air import tools
from rig.air.journal import Transmitter
from rig.errors import FaultError

IW = "iw"
_HINT = "sudo apt install iw"


async def power(interface: str) -> int:
    """What the interface's radio sends with, in 0.01 dBm, in the driver's own word.

    Raises `FaultError`.
    """
    said = await tools.run([IW, "dev", interface, "info"], hint=_HINT)
    found = re.search(r"^\s*txpower (-?\d+\.\d\d) dBm$", said, re.MULTILINE)
    if found is None:
        raise FaultError(f"iw does not say with what power {interface} sends", hint="is it up?")
    return round(float(found[1]) * 100)


async def fix(interface: str, mbm: int) -> None:
    """Send with `mbm` 0.01 dBm from now on. Raises `FaultError`."""
    await tools.run([IW, "dev", interface, "set", "txpower", "fixed", str(mbm)], hint=_HINT)


async def put_back(change: Transmitter) -> bool:
    """Send as before: the driver's own choice where that is the same; False: it does so already.

    Raises `FaultError`.
    """
    try:
        socket.if_nametoindex(change.interface)
    except OSError:
        return False  # the interface is gone, and its setting with it
    if await power(change.interface) == change.mbm:
        return False
    await tools.run([IW, "dev", change.interface, "set", "txpower", "auto"], hint=_HINT)
    if await power(change.interface) != change.mbm:
        await fix(change.interface, change.mbm)
    return True
