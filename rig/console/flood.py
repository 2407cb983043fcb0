"""A console that floods: so many lines a second come into the history, and no more.

A line of two bytes is an event of two hundred. A board that prints as fast as it can filled a disk
in an hour, and its run took longer to be judged than to be played.
"""

from __future__ import annotations

from rig.history import Event
from rig.history.events import LogLine, Note

BURST = 50_000
"""Lines that may come at once: many seconds of any UART."""
RATE = 2_000
"""Lines a second after that: 115,200 baud with six characters a line."""

_S = 1_000_000_000


class FloodGate:
    """Lets log lines through up to a rate, and everything else (boots, crashes, sockets) always.

    Sendspin's own lines have a rate of their own: checks read them, and a chatty driver must not
    cost any. For a console whose bytes are kept in a file too: there is what was left out.
    """

    def __init__(self, board: str) -> None:
        self._board = board
        self._room = {True: float(BURST), False: float(BURST)}
        self._t: int | None = None
        self._left_out = 0

    def through(self, event: Event) -> list[Event]:
        """What to keep of an event: itself, nothing, or itself after a word on what was left."""
        if self._t is not None and event.t > self._t:  # a read's events share one time
            more = (event.t - self._t) * RATE / _S
            self._room = {own: min(BURST, room + more) for own, room in self._room.items()}
        self._t = event.t
        if not isinstance(event, LogLine):
            return [event]
        own = (event.component or "").startswith("sendspin")
        if self._room[own] < 1:
            self._left_out += 1
            return []
        self._room[own] -= 1
        return [*self.rest(event.t), event]

    def rest(self, t: int) -> list[Event]:
        """What there is to say of the lines that were left out so far."""
        count, self._left_out = self._left_out, 0
        if not count:
            return []
        text = (
            f"{self._board}: {count} log lines left out of the history: more than {RATE} a second"
        )
        return [Note(t=t, text=f"{text}; its serial log has them")]
