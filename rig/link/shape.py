"""One direction of a link as a queue that passes bytes on: at once, late, slowly, or not now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Deliver = Callable[[bytes], None]


@dataclass(slots=True)
class _Item:
    pushed: float
    delay: float
    data: bytes
    size: int
    deliver: Deliver


class Shaper:
    """Keeps the order of what is pushed, whatever delay, rate or hold it is under.

    With none of them, `push` delivers at once. `delay` is in seconds, `rate` in bytes a second
    (None: unlimited), `held` stops everything.
    """

    def __init__(self) -> None:
        self.queued = 0
        """Bytes waiting."""
        self.on_passed: Callable[[int, float], None] | None = None
        """Called with the size of something that had to wait, and the seconds from its push to its
        last byte."""
        self.on_progress: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._delay = 0.0
        self._rate: float | None = None
        self._held = False
        self._items: deque[_Item] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._free_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing waits here."""
        return not self._items

    def shape(self, *, delay: float = 0.0, rate: float | None = None, held: bool = False) -> None:
        """Set how later bytes pass; what already waits is passed on under the new rule."""
        self._delay, self._rate, self._held = delay, rate, held
        self._free_at = self._loop.time()
        self._run()

    def push(self, data: bytes, deliver: Deliver) -> None:
        """Pass `data` to `deliver` when its turn comes, whole or in slices. Empty data is a mark
        that keeps its place in the order."""
        if not self._items and not self._held and not self._delay and self._rate is None:
            deliver(data)
            return
        self.queued += len(data)
        self._items.append(_Item(self._loop.time(), self._delay, data, len(data), deliver))
        self._run()

    def clear(self) -> None:
        """Forget what waits."""
        self._items.clear()
        self.queued = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._items and not self._held:
            item = self._items[0]
            due = item.pushed + item.delay
            if self._rate is not None and item.data:
                due = max(due, self._free_at)
            now = self._loop.time()
            if due > now:
                self._timer = self._loop.call_at(due, self._run)
                return
            slice_ = item.data if self._rate is None else item.data[: max(1, int(self._rate / 100))]
            if self._rate is not None:
                self._free_at = max(now, self._free_at) + len(slice_) / self._rate
            item.data = item.data[len(slice_) :]
            self.queued -= len(slice_)
            if not item.data:
                self._items.popleft()
                if item.size and self.on_passed is not None:
                    self.on_passed(item.size, now - item.pushed)
            item.deliver(slice_)
        self.on_progress()
