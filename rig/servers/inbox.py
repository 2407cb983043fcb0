"""What one connection has brought, to be awaited with deadlines."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from rig.history import Entry, Event
from rig.history.events import ConnectionClosed

BOUND: Final = 256
"""Events that are kept; the oldest go first."""


class Inbox:
    """Events of one connection, in order, each taken once."""

    def __init__(self) -> None:
        self.closed: Entry | None = None
        """The entry of the connection's end."""
        self._queue: deque[Entry] = deque(maxlen=BOUND)
        self._waiting: set[asyncio.Future[None]] = set()

    def put(self, entry: Entry) -> None:
        """Keep `entry` and wake who waits."""
        self._queue.append(entry)
        if isinstance(entry.event, ConnectionClosed):
            self.closed = entry
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def take[E: Event](self, kind: type[E], where: Callable[[E], bool] | None = None) -> E | None:
        """The first kept event of `kind` that satisfies `where`; None: not there (yet).

        It and all before it are consumed; what does not match stays while nothing does.
        """
        for position, entry in enumerate(self._queue):
            event = entry.event
            if isinstance(event, kind) and (where is None or where(event)):
                for _ in range(position + 1):
                    self._queue.popleft()
                return event
        return None

    async def next[E: Event](
        self, kind: type[E], *, timeout: float, where: Callable[[E], bool] | None = None
    ) -> E | None:
        """Wait for `take`. None after `timeout` s, or as soon as the connection is closed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            found = self.take(kind, where)
            left = deadline - loop.time()
            if found is not None or self.closed is not None or left <= 0:
                return found
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.add(waiter)
            try:
                await asyncio.wait((waiter,), timeout=left)
            finally:
                self._waiting.discard(waiter)
