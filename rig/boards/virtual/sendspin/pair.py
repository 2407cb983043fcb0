"""Connections up to v0.6.1: one current, one pending, trusted from the moment of the accept.

`connection_manager.cpp` and `esp/ws_server.cpp`. The HTTP task only leaves notes (closed, upgraded,
hello received); the main loop's next turn acts on them. Closings are noted by socket number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.boards.virtual.sendspin.connection import ServerConnection
from rig.boards.virtual.sendspin.manager import Manager
from rig.boards.virtual.sendspin.messages import GOODBYE_ANOTHER_SERVER, ServerHello

if TYPE_CHECKING:
    from rig.boards.virtual.sendspin.client import Client


class PairManager(Manager):
    """The current connection and the one that waits for the hand-off."""

    def __init__(self, device: Client) -> None:
        super().__init__(device)
        self._pending: ServerConnection | None = None
        self._dying: ServerConnection | None = None
        self._dying_done = False
        self._closed: list[int] = []
        self._connected: list[ServerConnection] = []
        self._hellos: list[tuple[ServerConnection, ServerHello]] = []

    # -- in the HTTP task -------------------------------------------------------------------------

    def on_open(self, fd: int) -> None:
        """Take the connection over at once, upgraded or not."""
        connection = self._open(fd)
        if self.current is None:
            self._log("D", "No existing connection, accepting as current")
            self.current = connection
            return
        self._log("D", "Existing connection present, setting as pending for handoff")
        if self._pending is None:
            self._pending = connection
            return
        self._log("W", "Already have pending connection, rejecting new connection")
        self._release(connection)

    def on_close(self, fd: int) -> None:
        """Leave a note for the main loop: this number was closed."""
        self._device.log("D", "ws_server", f"Client closed connection on socket {fd}")
        self._log("D", f"Connection closed callback for socket {fd}")
        self._closed.append(fd)

    def on_upgrade(self, fd: int) -> None:
        """Leave a note: this connection may get its hello."""
        connection = self._find(fd)
        if connection is not None:
            self._connected.append(connection)

    def on_server_hello(self, connection: ServerConnection, hello: ServerHello) -> None:
        """Leave a note: it introduced itself."""
        connection.hello_received = True
        self._hellos.append((connection, hello))

    def _find(self, fd: int) -> ServerConnection | None:
        if self._device.version.session_owns:
            return super()._find(fd)
        # By number among the managed ones: one that is closed but not yet dropped comes first.
        managed = (self.current, self._pending)
        return next((each for each in managed if each is not None and each.fd == fd), None)

    # -- in the main loop -------------------------------------------------------------------------

    def loop(self) -> None:
        """A turn: act on the notes, then on the timers."""
        closed, self._closed = self._closed, []
        connected, self._connected = self._connected, []
        hellos, self._hellos = self._hellos, []
        dying_done, self._dying_done = self._dying_done, False
        for fd in closed:
            if self.current is not None and self.current.fd == fd:
                self._lost(self.current)
            elif self._pending is not None and self._pending.fd == fd:
                self._lost(self._pending)
        for connection in connected:
            if self._manages(connection):
                self._timers.arm(connection)
        for connection, hello in hellos:
            if self._manages(connection):
                self._handshake_complete(connection, hello)
        if dying_done:
            self._dying = None
        self._timers.fire(self._manages)

    def _manages(self, connection: ServerConnection) -> bool:
        return connection is self.current or connection is self._pending

    def _lost(self, connection: ServerConnection) -> None:
        self._timers.forget(connection)
        if connection is not self.current:
            self._log("D", "Pending connection lost")
            self._pending = None
            return
        self._log("I", "Current connection lost")
        connection.dispatch = False
        self._device.cleanup()
        if self._pending is not None:
            self._log("D", "Promoting pending connection to current")
        self.current, self._pending = self._pending, None

    def _handshake_complete(self, connection: ServerConnection, hello: ServerHello) -> None:
        connection.server = hello
        self._device.publish_state(connection)
        text = f"server_id={hello.server_id}, connection_reason={hello.reason}"
        self._log("I", f"Connection handshake complete: {text}")
        if connection is not self._pending or self.current is None:
            return
        switch = self._should_switch(self.current, connection)
        self._log("I", f"Handoff decision: {'switch to new' if switch else 'keep current'}")
        verb = "switching to new" if switch else "keeping current"
        self._log("D", f"Completing handoff: {verb} server")
        loser, self.current = (self.current, connection) if switch else (connection, self.current)
        self._pending = None
        if switch:
            loser.dispatch = False
            self._device.cleanup()
        self._release(loser)

    def _release(self, connection: ServerConnection) -> None:
        """Say goodbye and let go; before #57 it has to be kept until the goodbye is out."""
        if self._device.version.session_owns:
            connection.disconnect(GOODBYE_ANOTHER_SERVER)
            return
        self._dying = connection
        connection.disconnect(GOODBYE_ANOTHER_SERVER, self._goodbye_done)

    def _goodbye_done(self) -> None:
        self._dying_done = True
