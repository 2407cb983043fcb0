"""When `client/time` is sent (`time_burst.cpp`): bursts of 8, one message outstanding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.boards.virtual.sendspin.connection import ServerConnection
from rig.boards.virtual.sendspin.messages import message

if TYPE_CHECKING:
    from rig.boards.virtual.sendspin.client import Client

SIZE = 8
INTERVAL_MS = 10_000
TIMEOUT_MS = 10_000


class TimeBurst:
    """One for the client; `loop` and `on_response` are called by the main loop."""

    def __init__(self, device: Client) -> None:
        self._device = device
        self.reset()

    def reset(self) -> None:
        """As after a complete burst that ended at time 0: so the first one waits for an uptime."""
        self._index = SIZE
        self._ended_ms = 0
        self._sent_ms = 0
        self._best: tuple[int, int] | None = None

    def loop(self, connection: ServerConnection) -> None:
        """A turn of the main loop for the current connection."""
        if not connection.is_connected or not connection.is_handshake_complete:
            return
        now_ms = self._device.micros() // 1000
        if self._index >= SIZE:
            if now_ms - self._ended_ms < INTERVAL_MS:
                return
            self._index = 0
        if connection.pending_time:
            if now_ms - self._sent_ms > TIMEOUT_MS:
                text = f"Time message {self._index + 1}/{SIZE} timed out"
                self._device.log("W", "time_burst", text)
                self._next(connection, now_ms)
            return
        micros = self._device.micros
        connection.send(
            "async_send_time_text", lambda: message("client/time", client_transmitted=micros())
        )
        connection.pending_time = True
        self._sent_ms = now_ms

    def on_response(self, connection: ServerConnection, max_error: int, offset: int) -> int | None:
        """The server answered, microseconds: the burst's best offset, if this was its last one."""
        if max_error <= 0:
            text = f"Dropping time response with non-positive max_error: {max_error} us"
            self._device.log("W", "time_burst", text)
        else:
            self._best = min(self._best or (max_error, offset), (max_error, offset))
        self._next(connection, self._device.micros() // 1000)
        if self._index < SIZE or self._best is None:
            return None
        best, self._best = self._best, None
        return best[1]

    def _next(self, connection: ServerConnection, now_ms: int) -> None:
        connection.pending_time = False
        self._index += 1
        if self._index >= SIZE:
            self._ended_ms = now_ms
