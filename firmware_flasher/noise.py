"""Which failures another attempt may mend, told by esptool's, pyserial's and the kernel's words.

The phrases are those of esptool 5.6 (`loader.py`, `cmds.py`, `util.py`) and pyserial 3.5.
"""

from __future__ import annotations

import errno
import re

_GONE = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF)
_NOISE = re.compile(
    r"Serial data stream stopped|Packet content transfer stopped|Invalid head of packet"
    r"|Invalid SLIP escape|No serial data received|No more data to read|Corrupt data"
    r"|Digest mismatch|Response doesn't match|byte status response|Bad data (length|checksum)"
    r"|Checksum error|Inflate error|Deflate \w+ error|Expected digest|Read more than expected"
    r"|Failed to start stub|Not enough data|Too much data|does not match data in flash"
    r"|flash region is empty|Guru Meditation|Write timeout"
    r"|Failed to set baud rate"
)
_VANISHED = re.compile(
    r"device disconnected|Input/output error|No such device|returned no data|Bad file descriptor"
    r"|socket disconnected|Connection reset|Broken pipe|port that is not open"
)


def is_noise(text: str) -> bool:
    """Whether another attempt, at a lower rate, may mend it: frames broke on the way."""
    return _NOISE.search(text) is not None


def is_vanished(text: str, number: int | None) -> bool:
    """Whether the port itself went away."""
    return number in _GONE or _VANISHED.search(text) is not None
