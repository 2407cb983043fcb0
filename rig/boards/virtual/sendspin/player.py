"""The player: what is buffered, what is due, what came too late (`sync_task.cpp`, in little).

Nothing is decoded: a chunk is its bytes and the moment it is to be heard.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rig.boards.virtual.sendspin.messages import BUFFER_CAPACITY

if TYPE_CHECKING:
    from rig.boards.virtual.sendspin.client import Client


class Player:
    """One for the client; both tasks use it (they never run at the same time)."""

    def __init__(self, device: Client) -> None:
        self._device = device
        self._header = 13 if device.version.noise else 9
        self.offset: int | None = None
        """The server's clock minus esp_timer, microseconds; None: not synchronized."""
        self.reset()

    def reset(self) -> None:
        """No server, no stream, no clock."""
        self.offset = None
        self.playing = False
        self.clear()
        self._played = self._late = self._lost = 0

    def clear(self) -> None:
        """Drop what is buffered."""
        self._chunks: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def start(self) -> None:
        """A stream begins, or goes on in another format."""
        self._device.log("D", "client", "Stream Started")
        self.playing = True

    def end(self) -> None:
        """The stream is over: say what became of it."""
        if self.playing:
            told = f"{self._played} chunks played, {self._late} late, {self._lost} without room"
            self._device.log("D", "player", f"{told}, {self._bytes} bytes unplayed")
        self.playing = False
        self.clear()
        self._played = self._late = self._lost = 0

    def take(self, data: bytes) -> None:
        """An audio chunk: id, time stamp (in noise: how far ahead it was sent), samples."""
        if not self.playing or len(data) < self._header:
            return
        due, size = int.from_bytes(data[1:9], "big", signed=True), len(data) - self._header
        if self.offset is not None and due < self._device.micros() + self.offset:
            self._late += 1
        elif self._bytes + size > BUFFER_CAPACITY:
            self._lost += 1
        else:
            self._chunks.append((due, size))
            self._bytes += size

    def loop(self) -> None:
        """A turn of the main loop: play what is due."""
        if self.offset is None:
            return
        now = self._device.micros() + self.offset
        while self._chunks and self._chunks[0][0] <= now:
            self._bytes -= self._chunks.popleft()[1]
            self._played += 1
