"""A server's connection to the client, and the work that the HTTP task does for it.

`esp/server_connection.cpp`. How queued work finds its way back to the connection is all that the
ownership rules of the versions come to: see `_Work.resolve`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsproto.frame_protocol import Opcode

from rig.boards.virtual.cpu import HeapObject, Pointer, call
from rig.boards.virtual.httpd import ESP_ERR_NO_MEM, ESP_OK, Frame, Httpd
from rig.boards.virtual.sendspin import messages
from rig.boards.virtual.sendspin.noise import Abort, Responder
from rig.boards.virtual.sendspin.versions import WorkHolds

if TYPE_CHECKING:
    from rig.boards.virtual.sendspin.client import Client

HEAP = 160 * 1024
"""Bytes that the heap has for a message; what is longer cannot be allocated."""

_CLASS = "sendspin::SendspinServerConnection::"


def owned_by_session(httpd: Httpd, fd: int) -> ServerConnection | None:
    """The connection that the session on `fd` owns, whoever that is by now."""
    session = httpd.find(fd)
    found = session.context if session else None
    return found if isinstance(found, ServerConnection) else None


@dataclass(frozen=True, slots=True)
class _Work:
    """A queued send. `text` is asked for as late as can be, `function` is its name in the firmware.

    It must not hold the connection itself: that is the versions' difference.
    """

    device: Client
    pointer: Pointer[ServerConnection]
    fd: int
    function: str
    text: Callable[[], bytes]
    before_hello: bool
    on_complete: Callable[[bool], None] | None

    def resolve(self) -> ServerConnection | None:
        """The connection that the version's rule yields now, None: there is none.

        Raises `LoadFault` where the rule is a bare address and the object is gone.
        """
        match self.device.version.work_holds:
            case WorkHolds.POINTER:
                return self.pointer.load()
            case WorkHolds.SOCKET:
                return owned_by_session(self.device.httpd, self.fd)
            case WorkHolds.WEAK_REFERENCE:
                return self.pointer.lock()

    async def __call__(self) -> None:
        with call(_CLASS + self.function):
            await self._send()

    async def _send(self) -> None:
        version = self.device.version
        bare = version.work_holds is WorkHolds.POINTER
        connection = self.resolve()
        sent = False
        allowed = connection is not None and connection.may_send(before_hello=self.before_hello)
        if connection is not None and allowed:
            fd, (opcode, payload) = connection.fd, connection.wrapped(self.text())
            if bare:
                connection = None  # a bare address keeps nothing alive while the send blocks
            sent = await self.device.httpd.ws_send(fd, opcode, payload) == ESP_OK
        if self.on_complete and (allowed or bare):
            self.on_complete(sent)


class ServerConnection(HeapObject):
    """One peer, from accept on. Owned by the manager or the HTTP session, as the version has it."""

    def __init__(self, device: Client, fd: int) -> None:
        super().__init__()
        self._device = device
        self.fd = fd
        self.hello_sent = False
        self.server: messages.ServerHello | None = None
        self.hello_received = False
        self.closed = False
        self.dispatch = True
        self.pending_time = False
        self.provisional = device.micros()
        """When it was taken over, esp_timer microseconds."""
        self.noise = Responder(device.mac) if device.version.noise else None
        self.roles: list[str] = []
        self._is_text = True
        self._payload = bytearray()

    @property
    def is_connected(self) -> bool:
        """Up to v0.6.1 this never turns false: nobody resets the socket's number."""
        return not self.closed

    @property
    def is_handshake_complete(self) -> bool:
        """Both hellos were exchanged."""
        return self.hello_sent and self.hello_received

    # -- sending: queued from any task, done by the HTTP task ------------------------------------

    def may_send(self, *, before_hello: bool) -> bool:
        """Whether the version's gate lets a frame out; `before_hello`: a hello or a goodbye."""
        gate = self._device.version.hello_gate
        return self.is_connected and (before_hello or self.hello_sent or not gate)

    def send(
        self,
        function: str,
        text: Callable[[], bytes],
        *,
        before_hello: bool = False,
        on_complete: Callable[[bool], None] | None = None,
    ) -> None:
        """Queue a frame; that it is lost shows nowhere: see `Httpd.queue_work`."""
        if self.is_connected:
            this = Pointer(self)
            self._device.httpd.queue_work(
                _Work(self._device, this, self.fd, function, text, before_hello, on_complete)
            )

    def send_text(
        self,
        text: bytes,
        *,
        before_hello: bool = False,
        on_complete: Callable[[bool], None] | None = None,
    ) -> None:
        """Queue a text whose words are known."""
        self.send(
            "async_send_text", lambda: text, before_hello=before_hello, on_complete=on_complete
        )

    def wrapped(self, text: bytes) -> tuple[int, bytes]:
        """Opcode and payload of the frame that carries `text`: sealed once there is a seal."""
        if self.noise is not None and self.noise.established:
            return Opcode.BINARY, self.noise.seal(text)
        return Opcode.TEXT, text

    def disconnect(self, reason: str, on_complete: Callable[[], None] | None = None) -> None:
        """Queue a goodbye and, after it, the closing of the session."""
        if not self.is_connected:
            if on_complete:
                on_complete()
            return
        this = Pointer(self)
        bare = self._device.version.work_holds is WorkHolds.POINTER

        def close(_success: bool) -> None:
            with call(_CLASS + "trigger_close"):
                connection = this.load() if bare else this.lock()
                if connection is not None:
                    connection.trigger_close()
            if on_complete:
                on_complete()

        if self.noise is not None and not self.noise.established:
            close(True)  # what cannot be sealed is not said
            return
        goodbye = messages.message("client/goodbye", reason=reason)
        self.send_text(goodbye, before_hello=True, on_complete=close)

    def trigger_close(self) -> None:
        """Have the HTTP task close the session that has this connection's number."""
        if self.is_connected:
            self._device.httpd.trigger_close(self.fd)

    # -- receiving: in the HTTP task -------------------------------------------------------------

    async def handle_data(self, frame: Frame, received: int) -> int:
        """Read a data frame whose first byte is in `frame`; blocks until it is all here."""
        httpd, log = self._device.httpd, self._device.log
        error, _ = await httpd.recv_frame(frame, 0)
        if error != ESP_OK:
            text = f"httpd_ws_recv_frame failed to get frame len with {error}"
            log("E", "server_connection", text)
            return error
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode == Opcode.TEXT
        elif frame.opcode != Opcode.CONTINUATION:
            return ESP_OK
        if frame.length:
            error = await self._receive(frame)
            if error != ESP_OK:
                return error
        if frame.final:
            self._dispatch(received)
        return ESP_OK

    async def _receive(self, frame: Frame) -> int:
        log = self._device.log
        size = len(self._payload) + frame.length
        if size > HEAP:
            verb = "expand websocket payload to" if self._payload else "allocate"
            tail = "" if self._payload else " for websocket payload"
            log("E", "connection", f"Failed to {verb} {size} bytes{tail}")
            if self._device.version.nursery:
                log("E", "server_connection", "Allocation failed, dropping connection")
                self.dispatch = False
            return ESP_ERR_NO_MEM
        error, payload = await self._device.httpd.recv_frame(frame, frame.length)
        if error != ESP_OK:
            log("E", "server_connection", f"httpd_ws_recv_frame failed with {error}")
            self._payload.clear()
            return error
        self._payload += payload
        return ESP_OK

    def _dispatch(self, received: int) -> None:
        data = bytes(self._payload)
        self._payload.clear()
        if not self.dispatch:
            return
        if self.noise is not None:
            self._unseal(self.noise, data, received)
        elif self._is_text:
            self._device.on_text(self, data, received)
        else:
            self._device.on_binary(data)

    def _unseal(self, noise: Responder, data: bytes, received: int) -> None:
        """A message of the noise generation: a step of the handshake, or what is in the seal."""
        try:
            if self._is_text == noise.established:
                kind = "clear text" if self._is_text else "a sealed frame"
                raise Abort("connection", f"{kind} at the wrong time, closing")
            if self._is_text:
                answer = noise.handshake(data)
                if answer is not None:
                    self.send_text(answer, before_hello=True, on_complete=self._shaken)
                return
            message = noise.open(data)
        except Abort as abort:
            self._device.log("W", *abort.args)
            self.dispatch = False
            self.trigger_close()
            return
        if message is None:
            return
        if message[0]:
            self._device.on_binary(message)
        else:
            self._device.on_text(self, message[1:], received)

    def _shaken(self, success: bool) -> None:
        """The handshake's last message is out: from here on everything is sealed."""
        if success and self.noise is not None:
            self.noise.established = True
            text = f"Noise handshake complete: server_id={self.noise.server_id} psk_category=2"
            self._device.log("I", "noise_handshake", text)
