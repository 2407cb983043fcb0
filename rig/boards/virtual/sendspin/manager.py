"""What all versions' connection managers share: who is greeted, who is current.

`connection_manager.cpp`, `esp/ws_server.cpp`; the versions' own ways are in `pair` and `nursery`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rig.boards.virtual.cpu import Pointer, call
from rig.boards.virtual.httpd import ESP_FAIL, Frame
from rig.boards.virtual.sendspin.connection import ServerConnection, owned_by_session
from rig.boards.virtual.sendspin.messages import fnv1

if TYPE_CHECKING:
    from rig.boards.virtual.sendspin.client import Client


class HelloTimers:
    """When hellos are due (`HelloRetryState`; its retries never happen: queueing never fails).

    One a connection, or one for all: then arming it for a second one forgets the first, and it
    also keeps its connection alive after it fired, as its `shared_ptr` does.
    """

    def __init__(self, device: Client) -> None:
        self._device = device
        self._due: dict[ServerConnection, int] = {}
        """esp_timer microseconds; 0: it was sent."""

    def arm(self, connection: ServerConnection) -> None:
        """Send its hello after the version's delay."""
        if not self._device.version.own_hello_timers:
            self._due.clear()
        delay = round(self._device.version.hello_delay * 1e6)
        self._due[connection] = self._device.micros() + delay

    def forget(self, connection: ServerConnection) -> None:
        """Drop its timer, if it has one."""
        self._due.pop(connection, None)

    def fire(self, wants: Callable[[ServerConnection], bool]) -> None:
        """Send what is due; forget connections that nobody `wants` greeted any more."""
        now = self._device.micros()
        self._due = {each: due for each, due in self._due.items() if wants(each)}
        for connection, due in list(self._due.items()):
            if 0 < due <= now:
                self._send(connection)
                self._due[connection] = 0
                if self._device.version.own_hello_timers:
                    self.forget(connection)

    def _send(self, connection: ServerConnection) -> None:
        conn = Pointer(connection)  # captured as a raw pointer in every version

        def sent(success: bool) -> None:
            with call("sendspin::SendspinConnection::set_client_hello_sent"):
                if success:
                    conn.load().hello_sent = True
                else:
                    self._device.log("W", "conn_mgr", "Hello message send failed")

        connection.send_text(self._device.hello(), before_hello=True, on_complete=sent)


class Manager:
    """The current connection, and what the HTTP server asks for (`httpd.Handlers`)."""

    path = "/sendspin"

    def __init__(self, device: Client) -> None:
        self._device = device
        self._timers = HelloTimers(device)
        self.current: ServerConnection | None = None
        self.last_played: int | None = None
        """Hash of the id of the server last seen playing."""

    def _log(self, level: str, text: str) -> None:
        self._device.log(level, "conn_mgr", text)

    def _open(self, fd: int) -> ServerConnection:
        """A new connection; where sessions own theirs, the session on `fd` does from here on."""
        self._device.log("D", "ws_server", f"New client connection on socket {fd}")
        connection = ServerConnection(self._device, fd)
        session = self._device.httpd.find(fd)
        if session is not None and self._device.version.session_owns:
            session.context = connection
        return connection

    def _find(self, fd: int) -> ServerConnection | None:
        """The connection that the session on `fd` owns."""
        return owned_by_session(self._device.httpd, fd)

    async def on_frame(self, frame: Frame) -> int:
        """Let the session's connection read it; runs in the HTTP task."""
        received = self._device.micros()
        connection = self._find(frame.session.fd)
        if connection is None:
            text = f"No connection found for sockfd {frame.session.fd}"
            self._device.log("E", "ws_server", text)
            return ESP_FAIL
        return await connection.handle_data(frame, received)

    def _should_switch(self, current: ServerConnection, new: ServerConnection) -> bool:
        """Whether `new` takes over; logs why (`should_switch_to_new_server`)."""
        reasons = [each.server.reason if each.server else "" for each in (current, new)]
        hashes = [fnv1(each.server.server_id) if each.server else None for each in (current, new)]
        if reasons[1] == "playback":
            why, switch = "New server has playback reason, switching", True
        elif reasons == ["playback", "discovery"]:
            why, switch = "New is discovery, current had playback, keeping current", False
        elif self.last_played is not None and self.last_played == hashes[1]:
            why, switch = "New server matches last played server, switching", True
        elif self.last_played is not None and self.last_played == hashes[0]:
            why, switch = "Current server matches last played server, keeping", False
        else:
            why, switch = "Default handoff decision: keep existing", False
        if not self._device.version.noise:
            self._log("D", why)
        return switch
