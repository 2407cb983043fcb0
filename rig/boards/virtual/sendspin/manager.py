"""What all versions' connection managers share: who is current, and who keeps the device.

`connection_manager.cpp`, `esp/ws_server.cpp`; the versions' own ways are in `pair` and `nursery`.
"""

from __future__ import annotations

from rig.boards.virtual.httpd import ESP_FAIL, Frame
from rig.boards.virtual.sendspin.connection import Device, ServerConnection
from rig.boards.virtual.sendspin.hello import HelloTimers
from rig.boards.virtual.sendspin.messages import fnv1


class Manager:
    """The current connection, and what the HTTP server asks for (`httpd.Handlers`)."""

    path = "/sendspin"

    def __init__(self, device: Device) -> None:
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
        session = self._device.httpd.find(fd)
        found = session.context if session else None
        return found if isinstance(found, ServerConnection) else None

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
