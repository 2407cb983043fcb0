"""The Sendspin client: its main loop, and what it makes of the server's messages (`client.cpp`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rig.boards.virtual.httpd import Httpd
from rig.boards.virtual.sendspin import messages
from rig.boards.virtual.sendspin.connection import ServerConnection
from rig.boards.virtual.sendspin.messages import JsonObject
from rig.boards.virtual.sendspin.nursery import NurseryManager
from rig.boards.virtual.sendspin.pair import PairManager
from rig.boards.virtual.sendspin.player import Player
from rig.boards.virtual.sendspin.time_burst import TimeBurst
from rig.boards.virtual.sendspin.versions import Version
from rig.boards.virtual.system import System

PORT = 8928
TIMER_START = 10_000_000
"""Where the model's esp_timer starts, microseconds. The library's first time burst waits until
esp_timer shows 10 s; a chip spends most of that on its network. The model joins at once, so it
begins there: a device that has been up for a while, as it was measured."""
NVS_NAMESPACE, NVS_LAST_SERVER = "sendspin", "last_server"
EVENTS = 32
"""Events that wait for the main loop; beyond, they are dropped."""


class Client:
    """The client of one boot. `loop` is called by the main task, the rest by the HTTP task."""

    def __init__(self, system: System, version: Version) -> None:
        self.version = version
        self.mac = system.mac
        self._system = system
        self._volume = 50
        self._muted = False
        self._events: deque[Callable[[], None]] = deque(maxlen=EVENTS)
        self._activates: deque[tuple[ServerConnection, JsonObject]] = deque(maxlen=EVENTS)
        self._group: dict[str, str] = {}
        self._player = Player(self)
        self._burst = TimeBurst(self)
        self._manager: NurseryManager | PairManager = (
            NurseryManager(self) if version.nursery else PairManager(self)
        )
        last = system.nvs.get(NVS_NAMESPACE, NVS_LAST_SERVER)
        if isinstance(last, int) and last:
            self._manager.last_played = last
            self.log("I", "client", f"Loaded last played server hash: 0x{last:08X}")
        limit = version.max_connections
        self.log("I", "ws_server", f"Starting server on port: {PORT} (max connections: {limit})")
        self.httpd = Httpd(system, self._manager, PORT, limit)

    def micros(self) -> int:
        """esp_timer, microseconds."""
        return self._system.micros() + TIMER_START

    def log(self, level: str, tag: str, text: str) -> None:
        """Print a log line under `sendspin.TAG` (a debug build: D lines too)."""
        self._system.log(level, f"sendspin.{tag}", text)

    # -- main task --------------------------------------------------------------------------------

    def loop(self) -> None:
        """A turn of the main loop."""
        for _ in range(len(self._activates)):
            self._on_activate(*self._activates.popleft())
        self._manager.loop()
        if self._manager.current is not None:
            self._burst.loop(self._manager.current)
        for _ in range(len(self._events)):
            self._events.popleft()()
        self._player.loop()

    def publish_state(self, connection: ServerConnection | None = None) -> None:
        """Queue a `client/state` for a connection, or the current one, if it is established."""
        connection = connection or self._manager.current
        if connection is None or not connection.is_connected:
            return
        available = self._player.offset is not None if self.version.noise else None
        if connection.is_handshake_complete and (connection.roles or not self.version.noise):
            connection.send_text(messages.client_state(self._volume, self._muted, available))

    def turn_volume(self) -> None:
        """A step of the volume key: each is published."""
        self._volume = self._volume % 100 + 1
        self.publish_state()

    def send_command(self, command: str) -> None:
        """A controller command goes to the current connection, established or not."""
        if self._manager.current is not None and self._manager.current.is_connected:
            controller = {"command": command}
            message = messages.message("client/command", controller=controller)
            self._manager.current.send_text(message)

    def cleanup(self) -> None:
        """The current connection is gone: forget what belonged to it."""
        self._burst.reset()
        self._player.reset()
        self._events.clear()

    def hello(self) -> bytes:
        """The `client/hello`."""
        software = self._system.image.descriptor.version
        return messages.client_hello(self.mac, software, self.version)

    # -- HTTP task --------------------------------------------------------------------------------

    def on_text(self, connection: ServerConnection, text: bytes, received: int) -> None:
        """Parse a message and act on it, or leave an event for the main loop."""
        message = messages.parse(text)
        if message is None:
            self.log("W", "client", "Failed to parse JSON message")
            return
        kind, payload = message
        match kind:
            case "server/hello" if connection.noise is not None:
                if isinstance(self._manager, NurseryManager):
                    self._manager.on_introduced(connection)
            case "server/activate" if connection.noise is not None:
                self._activates.append((connection, payload))
            case "server/hello":
                self._on_server_hello(connection, payload)
            case "server/time":
                self._on_server_time(connection, payload, received)
            case "server/command":
                self._on_server_command(payload)
            case "group/update":
                self._events.append(lambda: self._on_group_update(payload))
            case "stream/start":
                self._player.start()
            case "stream/end" | "stream/clear":
                self._on_stream(kind, payload)
            case "server/state":
                pass
            case _:
                name = kind[:64] if isinstance(kind, str) else "unknown"
                self.log("W", "client", f"Unhandled server message type: {name}")

    def _on_stream(self, kind: str, payload: JsonObject) -> None:
        roles = str(payload.get("roles", ["player", "artwork", "visualizer"]))
        verb = "ended" if kind == "stream/end" else "clear"
        known = ("player", "artwork", "visualizer")
        flags = " ".join(f"{role}:{int(role in roles)}" for role in known)
        self.log("D", "client", f"Stream {verb} - {flags}")
        if "player" in roles and kind == "stream/end":
            self._player.end()
        elif "player" in roles:
            self._player.clear()

    def on_binary(self, data: bytes) -> None:
        """Audio goes to the player, pictures nowhere; unknown kinds are warned of."""
        if len(data) < 2:
            return
        role, slot = data[0] >> 2, data[0] & 3
        if role == 1 and slot:
            self.log("W", "client", f"Unknown player binary slot {slot}")
        elif role == 1:
            self._player.take(data)
        elif role not in (2, 4):  # artwork, visualizer
            self.log("W", "client", f"Unknown binary role {role} (type {data[0]})")

    def _on_server_hello(self, connection: ServerConnection, payload: JsonObject) -> None:
        hello = messages.server_hello(payload)
        if isinstance(hello, str):
            self.log("E", "protocol", hello)
            return
        about = f"{hello.name} with id {hello.server_id} (reason: {hello.reason})"
        self.log("D", "client", f"Connected to server {about}")
        self._manager.on_server_hello(connection, hello)

    def _on_activate(self, connection: ServerConnection, payload: JsonObject) -> None:
        """`server/activate`: is it admissible under the Sentinel PSK with unpaired access?"""
        noise, manager = connection.noise, self._manager
        activities, roles = payload.get("activities"), payload.get("active_roles")
        if noise is None or not isinstance(manager, NurseryManager):
            return
        known = ("playback", "pairing")
        if not isinstance(activities, list) or any(each not in known for each in activities):
            self.log("W", "conn_mgr", "server/activate inadmissible: closing with unauthorized")
            manager.drop(connection, "unauthorized")
            return
        if "pairing" in activities:  # only by the Pairing PSK, which nobody has
            connection.send_text(messages.message("pair/abort", reason="method_not_supported"))
            return
        before = connection.roles
        if isinstance(roles, list):
            connection.roles = [str(role) for role in roles]
        reason = "playback" if activities else "discovery"
        connection.server = messages.ServerHello(noise.server_id, "", reason)
        connection.hello_received = True
        if connection is manager.current:
            self.on_admitted(connection)
            if connection.roles != before:
                self.publish_state(connection)

    def on_admitted(self, connection: ServerConnection) -> None:
        """It is the current one: in noise the server that last played is remembered by that."""
        server = connection.server
        if self.version.noise and server is not None and server.reason == "playback":
            self._remember(server.server_id)

    def _remember(self, server_id: str) -> None:
        last = messages.fnv1(server_id)
        if last == self._manager.last_played:
            return
        self._manager.last_played = last
        self._system.nvs.put(NVS_NAMESPACE, NVS_LAST_SERVER, last)
        text = f"Persisted last played server: {server_id} (hash: 0x{last:08X})"
        self.log("D", "client", text)

    def _on_server_time(
        self, connection: ServerConnection, payload: JsonObject, received: int
    ) -> None:
        measured = messages.server_time(payload, received)
        if measured is None:
            self.log("E", "protocol", "Invalid server/time message")
            return
        # v0.7.0 takes only the current connection's answers; before, anyone's were taken for it.
        source = connection.address if self.version.nursery else None
        self._events.append(lambda: self._on_time_response(source, *measured))

    def _on_time_response(self, source: int | None, max_error: int, offset: int) -> None:
        current = self._manager.current
        if current is None or source not in (None, current.address):
            return
        best = self._burst.on_response(current, max_error, offset)
        if best is not None:
            synchronized, self._player.offset = self._player.offset is not None, best
            if self.version.noise and not synchronized:
                self.publish_state(current)  # available from here on

    def _on_server_command(self, payload: JsonObject) -> None:
        player = payload.get("player")
        if not isinstance(player, dict):
            return
        volume, mute = player.get("volume"), player.get("mute")
        match player.get("command"):
            case "volume" if isinstance(volume, int):
                self._events.append(lambda: self._set(volume=max(0, min(volume, 100))))
            case "mute" if isinstance(mute, bool):
                self._events.append(lambda: self._set(muted=mute))
            case "volume" | "mute" | "set_static_delay":
                pass
            case command:
                text = f"Invalid server player command type: {str(command)[:64]}"
                self.log("E", "protocol", text)

    def _set(self, volume: int | None = None, muted: bool | None = None) -> None:
        self._volume = self._volume if volume is None else volume
        self._muted = self._muted if muted is None else muted
        self.publish_state()

    def _on_group_update(self, payload: JsonObject) -> None:
        keys = ("playback_state", "group_id", "group_name")
        self._group |= {key: str(payload[key] or "")[:64] for key in keys if key in payload}
        current = self._manager.current
        playing = payload.get("playback_state") == "playing" and not self.version.noise
        if playing and current is not None and current.server:
            self._remember(current.server.server_id)
        state, group, name = (self._group.get(key, "") for key in keys)
        text = f"Group update - state: {state or 'unchanged'}, id: {group}, name: {name}"
        self.log("D", "client", text)
