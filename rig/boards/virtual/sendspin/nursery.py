"""Connections from v0.7.0 on: prove, then admit (PR #81). In noise `server/activate` is the proof.

`connection_manager.cpp` and `esp/ws_server.cpp`. An accepted socket is parked until its upgrade is
seen; then it is in the nursery until both hellos were exchanged; only then may it become current.
The close callback marks the connection closed at once (PR #79).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.boards.virtual.sendspin.connection import ServerConnection
from rig.boards.virtual.sendspin.manager import Manager
from rig.boards.virtual.sendspin.messages import (
    GOODBYE_ANOTHER_SERVER,
    GOODBYE_CONCURRENT,
    ServerHello,
)

if TYPE_CHECKING:
    from rig.boards.virtual.sendspin.client import Client

CAPACITY = 2
"""`NURSERY_CAPACITY`: unproven connections at a time."""
UPGRADE_DEADLINE = 5_000_000
ESTABLISH_DEADLINE = 30_000_000
"""Microseconds to the upgrade, and from it to both hellos."""


class NurseryManager(Manager):
    """Parked sockets, the nursery, and the current connection."""

    def __init__(self, device: Client) -> None:
        super().__init__(device)
        self._parked: list[ServerConnection] = []
        self._nursery: list[ServerConnection] = []
        self._closed: list[ServerConnection] = []

    # -- in the HTTP task -------------------------------------------------------------------------

    def on_open(self, fd: int) -> None:
        """Park it: nobody else learns of it before its upgrade."""
        self._parked.append(self._open(fd))

    def on_close(self, fd: int) -> None:
        """Mark it closed, and leave a note that names the connection, not its number."""
        self._device.log("D", "ws_server", f"Client closed connection on socket {fd}")
        connection = self._find(fd)
        if connection is None:
            return
        connection.closed = True
        self._parked = [each for each in self._parked if each is not connection]
        self._log("D", f"Connection closed callback for socket {fd}")
        self._closed.append(connection)

    def on_upgrade(self, fd: int) -> None:
        """Deliver it to the nursery."""
        connection = next((each for each in self._parked if each.fd == fd), None)
        if connection is None:
            return
        self._parked.remove(connection)
        text = f"WebSocket upgrade complete on socket {fd}, delivering connection"
        self._device.log("D", "ws_server", text)
        connection.provisional = self._device.micros()
        if len(self._nursery) >= CAPACITY:
            self._log("W", "Nursery full of live connections, rejecting new connection")
            self._release(connection)
            return
        self._log("D", "Admitting new connection into the nursery")
        if connection.noise is not None:
            connection.send_text(connection.noise.init, before_hello=True)
        else:
            self._timers.arm(connection)
        self._nursery.append(connection)

    def on_introduced(self, connection: ServerConnection) -> None:
        """Noise: the server's hello is here, so its own may go."""
        if connection in self._nursery and not connection.hello_sent:
            self._timers.arm(connection)

    def on_server_hello(self, connection: ServerConnection, hello: ServerHello) -> None:
        """The main loop will see that it is proven."""
        connection.server = hello
        connection.hello_received = True

    # -- in the main loop -------------------------------------------------------------------------

    def loop(self) -> None:
        """A turn: drop what closed, admit what is proven, send hellos, reap what is late."""
        closed, self._closed = self._closed, []
        for connection in closed:
            self._lost(connection)
        for connection in [each for each in self._nursery if each.is_handshake_complete]:
            self._admit(connection)
        self._timers.fire(self._nursery.__contains__)
        now = self._device.micros()
        for connection in [each for each in self._nursery if _late(each, now, ESTABLISH_DEADLINE)]:
            stage = "HELLO_SENT" if connection.hello_sent else "WS_UP"
            if connection.noise is not None and not connection.hello_sent:
                stage = "NOISE_DONE" if connection.noise.established else "NOISE_PENDING"
            seconds = ESTABLISH_DEADLINE // 1_000_000
            text = f"Nursery connection stalled at {stage} (>{seconds} s), dropping"
            self._log("W", text)
            self._leave_nursery(connection)
            self._release(connection)
        for connection in [each for each in self._parked if _late(each, now, UPGRADE_DEADLINE)]:
            self._parked.remove(connection)
            seconds = UPGRADE_DEADLINE // 1_000_000
            text = f"Session did not complete a WebSocket upgrade within {seconds} s, closing"
            self._device.log("W", "ws_server", text)
            connection.trigger_close()

    def _lost(self, connection: ServerConnection) -> None:
        if connection is self.current:
            self._log("I", "Current connection lost")
            self._drop_current(connection)
        elif connection in self._nursery:
            self._log("D", "Nursery connection lost")
            self._leave_nursery(connection)
            connection.dispatch = False

    def _drop_current(self, connection: ServerConnection) -> None:
        connection.dispatch = False
        self._device.cleanup()
        self.current = None

    def _leave_nursery(self, connection: ServerConnection) -> None:
        self._nursery.remove(connection)
        self._timers.forget(connection)

    def _admit(self, connection: ServerConnection) -> None:
        self._leave_nursery(connection)
        noise = connection.noise is not None
        if self.current is not None:
            if not self._should_switch(self.current, connection):
                keep = "Admission arbitration: reject incoming (keep current)"
                self._log("I", keep if noise else "Handoff decision: keep current server")
                self._release(connection, GOODBYE_CONCURRENT if noise else GOODBYE_ANOTHER_SERVER)
                return
            decided = "Admission arbitration" if noise else "Handoff decision"
            self._log("I", f"{decided}: switch to new server")
            loser = self.current
            self._drop_current(loser)
            self._release(loser)
        self.current = connection
        self._device.on_admitted(connection)
        self._device.publish_state_to(connection)
        hello = connection.server
        if hello is not None and noise:
            self._log("I", f"Connection admitted: server_id={hello.server_id}")
        elif hello is not None:
            text = f"server_id={hello.server_id}, connection_reason={hello.reason}"
            self._log("I", f"Connection handshake complete: {text}")

    def _release(self, connection: ServerConnection, reason: str = GOODBYE_ANOTHER_SERVER) -> None:
        connection.dispatch = False
        connection.disconnect(reason)

    def drop(self, connection: ServerConnection, reason: str) -> None:
        """Send it away, current or not (`drop_connection`)."""
        if connection is self.current:
            self._drop_current(connection)
        elif connection in self._nursery:
            self._leave_nursery(connection)
        self._release(connection, reason)


def _late(connection: ServerConnection, now: int, deadline: int) -> bool:
    return connection.is_connected and now - connection.provisional >= deadline
