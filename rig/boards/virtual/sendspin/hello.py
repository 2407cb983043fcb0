"""The timers that send `client/hello` (`HelloRetryState` of `connection_manager.cpp`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rig.boards.virtual.cpu import Pointer, call
from rig.boards.virtual.sendspin.connection import Device, ServerConnection

RETRY_DELAY = 100_000
"""Microseconds; doubled before each new attempt (+200 ms, +400 ms)."""
ATTEMPTS = 3


@dataclass(slots=True)
class _Timer:
    connection: ServerConnection
    due: int
    attempts: int = ATTEMPTS
    delay: int = RETRY_DELAY


class HelloTimers:
    """One a connection, or one for all: then arming it for a second one forgets the first.

    The single one also keeps its connection alive after it fired, as its `shared_ptr` does.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._timers: list[_Timer] = []

    def arm(self, connection: ServerConnection) -> None:
        """Send its hello after the version's delay."""
        due = self._device.micros() + round(self._device.version.hello_delay * 1e6)
        if self._device.version.own_hello_timers:
            self.forget(connection)
        else:
            self._timers.clear()
        self._timers.append(_Timer(connection, due))

    def forget(self, connection: ServerConnection) -> None:
        """Drop its timer, if it has one."""
        self._timers = [timer for timer in self._timers if timer.connection is not connection]

    def fire(self, wants: Callable[[ServerConnection], bool]) -> None:
        """Send what is due; forget connections that nobody `wants` greeted any more."""
        now = self._device.micros()
        self._timers = [timer for timer in self._timers if wants(timer.connection)]
        for timer in [timer for timer in self._timers if 0 < timer.due <= now]:
            if self._send(timer):
                timer.due = 0
                if self._device.version.own_hello_timers:
                    self._timers.remove(timer)
            else:
                self._again(timer, now)

    def _send(self, timer: _Timer) -> bool:
        connection = timer.connection
        if not connection.is_connected:
            self._device.log("W", "conn_mgr", "Cannot send hello - not connected")
            return True
        conn = Pointer(connection)  # captured as a raw pointer in every version

        def sent(success: bool) -> None:
            with call("sendspin::SendspinConnection::set_client_hello_sent"):
                if success:
                    conn.load().hello_sent = True
                else:
                    self._device.log("W", "conn_mgr", "Hello message send failed")

        if connection.send_text(self._device.hello(), before_hello=True, on_complete=sent):
            return True
        text = f"Failed to queue hello message (err=-1), {timer.attempts - 1} attempts remaining"
        self._device.log("W", "conn_mgr", text)
        return False

    def _again(self, timer: _Timer, now: int) -> None:
        if timer.attempts == 1:
            self._timers.remove(timer)
            return
        timer.delay *= 2
        timer.attempts -= 1
        timer.due = now + timer.delay
