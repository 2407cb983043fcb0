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
UPGRADE_SECONDS, ESTABLISH_SECONDS = 5, 30
"""Until the upgrade, and from it to both hellos."""


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
            self.drop(connection)
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
        for connection in self._late(self._nursery, ESTABLISH_SECONDS):
            stage = "HELLO_SENT" if connection.hello_sent else "WS_UP"
            if connection.noise is not None and not connection.hello_sent:
                stage = "NOISE_DONE" if connection.noise.established else "NOISE_PENDING"
            text = f"Nursery connection stalled at {stage} (>{ESTABLISH_SECONDS} s), dropping"
            self._log("W", text)
            self.drop(connection)
        for connection in self._late(self._parked, UPGRADE_SECONDS):
            self._parked.remove(connection)
            what = f"a WebSocket upgrade within {UPGRADE_SECONDS} s, closing"
            self._device.log("W", "ws_server", f"Session did not complete {what}")
            connection.trigger_close()

    def _late(self, those: list[ServerConnection], seconds: int) -> list[ServerConnection]:
        since = self._device.micros() - seconds * 1_000_000
        return [each for each in those if each.is_connected and each.provisional <= since]

    def _lost(self, connection: ServerConnection) -> None:
        if connection is self.current:
            self._log("I", "Current connection lost")
        elif connection in self._nursery:
            self._log("D", "Nursery connection lost")
        self._forget(connection)

    def _forget(self, connection: ServerConnection) -> None:
        """It is neither current nor in the nursery any more, and is not listened to."""
        connection.dispatch = False
        if connection is self.current:
            self._device.cleanup()
            self.current = None
        elif connection in self._nursery:
            self._nursery.remove(connection)
            self._timers.forget(connection)

    def drop(self, connection: ServerConnection, reason: str = GOODBYE_ANOTHER_SERVER) -> None:
        """Send it away, current or not (`drop_connection`)."""
        self._forget(connection)
        connection.disconnect(reason)

    def _admit(self, connection: ServerConnection) -> None:
        noise = connection.noise is not None
        decided = "Admission arbitration" if noise else "Handoff decision"
        if self.current is not None:
            if not self._should_switch(self.current, connection):
                keep = "reject incoming (keep current)" if noise else "keep current server"
                self._log("I", f"{decided}: {keep}")
                self.drop(connection, GOODBYE_CONCURRENT if noise else GOODBYE_ANOTHER_SERVER)
                return
            self._log("I", f"{decided}: switch to new server")
            self.drop(self.current)
        self._nursery.remove(connection)
        self._timers.forget(connection)
        self.current = connection
        self._device.on_admitted(connection)
        self._device.publish_state(connection)
        server = connection.server
        if server is not None and noise:
            self._log("I", f"Connection admitted: server_id={server.server_id}")
        elif server is not None:
            text = f"server_id={server.server_id}, connection_reason={server.reason}"
            self._log("I", f"Connection handshake complete: {text}")
