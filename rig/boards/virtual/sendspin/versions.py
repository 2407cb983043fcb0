"""The modelled versions of sendspin-cpp, side by side.

Read in its sources at v0.5.0 + 1 (the last commit before PR #57), at PR #57, at v0.6.1 (PR #60 is
in it), at v0.7.0 and at v0.9.x, whose generation of the protocol is another one (noise).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class WorkHolds(Enum):
    """How queued work knows its connection."""

    POINTER = auto()
    """The object's bare address (`void* context`)."""
    SOCKET = auto()
    """The socket's number; whoever has it when the work runs is meant (`httpd_sess_get_ctx`)."""
    WEAK_REFERENCE = auto()
    """The object itself, if it still lives (`std::weak_ptr`)."""


@dataclass(frozen=True, slots=True)
class Version:
    """What one version does. `hello_delay` is in seconds after the upgrade was noticed."""

    name: str
    work_holds: WorkHolds
    session_owns: bool
    """The HTTP session owns its connection; before, the manager alone did."""
    hello_gate: bool
    """What is neither hello nor goodbye is dropped until the hello went out."""
    own_hello_timers: bool
    """A hello timer for each connection; before, one for all."""
    nursery: bool
    """A connection is taken over once upgraded, and current once proven (two hellos). A close
    marks it at once; before, only the main loop noticed."""
    hello_delay: float
    max_connections: int
    noise: bool = False
    """Speaks the noise generation: client/init first, and everything after the handshake sealed."""


VERSIONS = {
    version.name: version
    for version in (
        #                  work holds a              owned  gate   timers nursery
        Version("v0.5.0", WorkHolds.POINTER, False, False, False, False, 0.1, 2),
        Version("pr57", WorkHolds.SOCKET, True, False, False, False, 0.1, 2),
        Version("v0.6.1", WorkHolds.WEAK_REFERENCE, True, True, True, False, 0.1, 2),
        Version("v0.7.0", WorkHolds.WEAK_REFERENCE, True, True, True, True, 0.0, 4),
        Version("v0.9.3", WorkHolds.WEAK_REFERENCE, True, True, True, True, 0.0, 4, noise=True),
    )
}
