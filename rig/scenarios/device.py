"""What a run learns of its device before it schedules anything: no constant of any board."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from rig.protocol import Generation

HELLO_AT_ONCE_S = 0.05
"""A hello that comes sooner than this after the upgrade is on no timer."""


@dataclass(frozen=True, slots=True)
class Device:
    """Facts measured on the device under test, in seconds."""

    hello_delays: tuple[float, ...] = ()
    """From the upgrade answer to the opening message, one a try."""
    turns: tuple[float, ...] = ()
    """From server/hello to the first client/state: a turn of its main loop, and a send."""
    tells_sockets: bool = False
    """Whether its log tells of sockets."""
    sessions: int | None = None
    """How many connections it upgrades at once; None: not measured."""
    generation: Generation | None = None
    """Which generation of the protocol it opens in; None: not measured."""

    @property
    def hello_delay(self) -> float:
        """Median time to the opening message."""
        return statistics.median(self.hello_delays) if self.hello_delays else 0.1

    @property
    def turn(self) -> float:
        """A cautious turn of its main loop."""
        return max(self.turns, default=0.016)

    @property
    def step(self) -> float:
        """Time that lets its main loop turn several times: between the steps of a recipe.

        300 ms is known to work on real devices, 8 ms is known to be enough for a 7 ms loop, 4 ms to
        be too short (esp-http-server facts, Timing); a slower device is given more.
        """
        return min(0.5, max(0.1, 8 * self.turn))

    @property
    def greet_within(self) -> float:
        """Within what a held connection ought to be greeted: three failed attempts included."""
        return min(5.0, max(1.5, 10 * self.hello_delay))
