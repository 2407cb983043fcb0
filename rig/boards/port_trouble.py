"""Why a port cannot be opened, and what to do: missing, no permission, busy, nobody listening."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from firmware_flasher.errors import FlashError
from firmware_flasher.port import denied, holders
from rig.errors import BoardError

_NUMBER = re.compile(r"\[Errno (\d+)\]")
_BUSY = (errno.EBUSY, errno.EAGAIN)
_UNREACHED = (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)


def refused(url: str, error: Exception, what: str = "port") -> BoardError:
    """One error for a port that cannot be opened; `what` it is to the user."""
    number = getattr(error, "errno", None)
    if number is None and (found := _NUMBER.search(str(error))):  # pyserial hides it in its text
        number = int(found[1])
    why = os.strerror(number) if number else str(error)
    if number in (errno.EACCES, errno.EPERM) and "://" not in url:
        said: FlashError = denied(Path(url))
        return BoardError(f"cannot open the {what} {url}: permission denied", hint=said.hint)
    if number in _BUSY or "exclusively lock" in str(error):
        who = ", ".join(map(str, holders(url))) or "another process"
        return BoardError(
            f"cannot open the {what} {url}: busy: {who} has it open",
            hint="end that program (a serial monitor, another flasher), or wait for it",
        )
    if url.startswith("rfc2217://") and number is None:
        hint = "a serial server has room for one client: is a monitor attached to it elsewhere?"
    elif number in _UNREACHED:
        hint = "is the serial server running, and host and port right?"
    elif number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        hint = "is the board plugged in? `rig boards` lists what is there"
    else:
        hint = f"check the {what} of this board in bench.toml"
    return BoardError(f"cannot open the {what} {url}: {why}", hint=hint)
