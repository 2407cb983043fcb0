"""ESP-IDF 5.5.4's HTTP server (`components/esp_http_server`), as far as its peers can see it.

One task does everything, in passes: one message of the control socket, then every session with
data in slot order, then one accept. It blocks in `recv` and `send` like the real one: meanwhile
nothing else is received, sent, accepted or closed. The order of things is that of `httpd_main.c`,
`httpd_sess.c`, `httpd_ws.c`; their log lines too (tags at WARN).
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from wsproto.frame_protocol import Opcode, XorMaskerSimple

from rig.boards.virtual import http
from rig.boards.virtual.cpu import begin_task, call
from rig.boards.virtual.lwip import FIRST_SOCKET, Socket, SocketError, resolve
from rig.boards.virtual.system import System

ESP_OK = 0
ESP_FAIL = -1
ESP_ERR_NO_MEM = 0x101
ESP_ERR_INVALID_ARG = 0x102
ESP_ERR_INVALID_STATE = 0x103
ESP_ERR_INVALID_SIZE = 0x104

MAILBOX = 6
"""`CONFIG_LWIP_UDP_RECVMBOX_SIZE`: work items that wait; the next one is dropped in silence."""
BACKLOG = 5
SEND_TIME = 0.0007
"""Seconds that sending a frame takes on the chip (TCP/IP, WiFi, encryption), in which other tasks
run: an estimate. Not so the upgrade answer: by the facts' timing what the task does for a newcomer
goes ahead of the main loop's next turn. Else the task, whose priority is above its, only
lets go where it blocks."""
UNBROKEN = 32
"""Passes after which the others get a turn all the same: a flood must not stop the model."""

Work = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Session:
    """A slot of the socket table (`sock_db`); free while `fd` is -1."""

    fd: int = -1
    socket: Socket | None = None
    lru_counter: int = 0
    lru_socket: bool = False
    context: object | None = None
    """The session's context: the last owner of what it holds until the slot is freed."""
    pending: bytes = b""
    """Read from the socket, not used yet."""
    handshake_done: bool = False
    ws_close: bool = False
    mask_key: bytes = bytes(4)

    @property
    def open_socket(self) -> Socket:
        """The socket of a slot that is not free."""
        assert self.socket is not None, "a free slot has no socket"
        return self.socket

    async def recv(self, size: int) -> bytes:
        """At most `size` bytes, none at the end of the stream. Raises `SocketError`."""
        if self.pending:
            part, self.pending = self.pending[:size], self.pending[size:]
            return part
        return await self.open_socket.recv(min(size, 65536))


@dataclass(slots=True)
class Frame:
    """A frame whose first byte was read; `length` and the payload come with `recv_frame`."""

    session: Session
    opcode: int
    final: bool
    length: int = 0


def header(opcode: int, size: int) -> bytes:
    """The header of an unmasked, final frame of `size` payload bytes."""
    first = 0x80 | opcode
    if size <= 125:
        return bytes((first, size))
    if size < 0xFFFF:  # sic: ESP-IDF's `httpd_ws_send_frame_async` sends 65,535 in the long form
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")


class Handlers(Protocol):
    """What the application registers: a session was accepted, is being deleted (its number is free
    once that returns), had a GET for `path` answered, has a data frame (an `esp_err_t` other than
    ESP_OK ends it)."""

    path: str

    def on_open(self, fd: int) -> None: ...
    def on_close(self, fd: int) -> None: ...
    def on_upgrade(self, fd: int) -> None: ...
    async def on_frame(self, frame: Frame) -> int: ...


class Httpd:
    """The server. `run` is its task; `queue_work`, `trigger_close` may be called from any."""

    def __init__(self, system: System, handlers: Handlers, port: int, max_sockets: int) -> None:
        """`max_sockets`: `max_open_sockets`, sessions at a time."""
        self.system = system
        self.handlers = handlers
        self.sessions = [Session() for _ in range(max_sockets)]
        self._mailbox: deque[Work] = deque()
        self._lru_counter = 0
        self._wake: asyncio.Future[None] | None = None
        self._listener = system.listen(port, BACKLOG)
        self._epoll = select.epoll()
        self._listening = False

    def warn(self, tag: str, text: str) -> None:
        """Log at W."""
        self.system.log("W", tag, text)

    # -- what other tasks may call ----------------------------------------------------------------

    def queue_work(self, work: Work) -> None:
        """`httpd_queue_work`: ESP_OK even when the mailbox is full and `work` is lost."""
        if len(self._mailbox) < MAILBOX:
            self._mailbox.append(work)
            if self._wake is not None:
                resolve(self._wake)

    def find(self, fd: int) -> Session | None:
        """The session on `fd`, whoever that is by now."""
        return next((session for session in self.sessions if session.fd == fd), None)

    def trigger_close(self, fd: int) -> None:
        """`httpd_sess_trigger_close`: closes, when it gets to run, whoever has the *slot* then."""
        session = self.find(fd)
        if session is not None:
            if not session.lru_counter:
                # The guard below is for newcomers; one that asks itself to be closed, as v0.7.0's
                # upgrade deadline does, is closed on the device (facts: at 5 s).
                session.lru_socket = True
            self._queue_close(session)

    async def ws_send(self, fd: int, opcode: int, payload: bytes) -> int:
        """`httpd_ws_send_frame_async`: header, then payload; a short send goes unnoticed."""
        session = self.find(fd)
        if session is None:
            return ESP_ERR_INVALID_ARG
        to = session.open_socket
        for part, name in ((header(opcode, len(payload)), "header"), (payload, "payload")):
            if not part:
                continue
            sent = await self.send(to, part)
            await asyncio.sleep(SEND_TIME)
            if not sent:
                self.warn("httpd_ws", f"httpd_ws_send_frame_async: Failed to send WS {name}")
                return ESP_FAIL
        return ESP_OK

    # -- the task ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """The task `httpd`; ends only by cancellation."""
        begin_task("httpd_thread", "httpd_server")
        try:
            while True:
                for _ in range(UNBROKEN):
                    await self._pass()
                await asyncio.sleep(0)
        finally:
            self._epoll.close()
            self._listener.close()

    async def _pass(self) -> None:
        ready, control = await self._select()
        if control:
            with call("httpd_process_ctrl_msg"):
                await self._mailbox.popleft()()
        with call("httpd_sess_enum"):
            for session in self.sessions:
                if session.fd >= 0 and (session.open_socket.fileno() in ready or session.pending):
                    with call("httpd_process_session"):
                        if not await self._process(session):
                            self._delete(session)
        if self._listener.fileno() in ready:
            with call("httpd_accept_conn"):
                self._accept()

    async def _select(self) -> tuple[set[int], bool]:
        """Which host sockets are readable, and whether there is a control message."""
        available = any(session.fd < 0 for session in self.sessions)
        if available and not self._listening:
            self._epoll.register(self._listener, select.EPOLLIN)
        elif self._listening and not available:
            self._epoll.unregister(self._listener)
        self._listening = available
        loop = asyncio.get_running_loop()
        while True:
            ready = {number for number, _ in self._epoll.poll(0)}
            if ready or self._mailbox:
                return ready, bool(self._mailbox)
            wake = self._wake = loop.create_future()
            loop.add_reader(self._epoll.fileno(), resolve, wake)
            try:
                await wake
            finally:
                self._wake = None
                loop.remove_reader(self._epoll.fileno())

    def _accept(self) -> None:
        try:
            host, _ = self._listener.accept()
        except OSError as error:
            self.warn("httpd", f"httpd_accept_conn: error in accept ({error.errno})")
            return
        self.system.adopt(host)
        session = next(session for session in self.sessions if session.fd < 0)
        taken = {each.fd for each in self.sessions}
        # Before the sessions' come the listener's, the control's and the message socket's.
        number = next(n for n in range(FIRST_SOCKET + 3, 64) if n not in taken)
        session.lru_counter, session.lru_socket, session.pending = 0, False, b""
        session.handshake_done = session.ws_close = False
        session.fd, session.socket = number, Socket(host)
        self._epoll.register(host, select.EPOLLIN)
        with call("httpd_sess_new"):
            self.handlers.on_open(number)

    def _delete(self, session: Session) -> None:
        """Close callback (in which the number becomes free), context, slot: in this order."""
        if session.fd < 0:
            return
        with call("httpd_sess_delete"):
            self.handlers.on_close(session.fd)
            self._epoll.unregister(session.open_socket.fileno())
            session.open_socket.close()
            session.context = None
            session.fd, session.socket = -1, None
        if all(other.fd < 0 for other in self.sessions):
            self._lru_counter = 0

    def _queue_close(self, session: Session) -> None:
        async def close() -> None:
            with call("httpd_sess_close"):
                if session.lru_counter or session.lru_socket:
                    session.lru_socket = False
                    self._delete(session)

        self.queue_work(close)

    async def _process(self, session: Session) -> bool:
        """One request or one frame. False: delete the session."""
        with call("httpd_sess_process"), call("httpd_req_new"):
            if not session.handshake_done:
                served = await http.serve(self, session)
            elif session.ws_close:
                served = True
            else:
                served = await self._frame(session) == ESP_OK
        if session.ws_close:
            self._queue_close(session)
        if served:
            self._lru_counter += 1
            session.lru_counter = self._lru_counter
        return served

    # -- WebSocket --------------------------------------------------------------------------------

    async def _frame(self, session: Session) -> int:
        try:
            (first,) = await self._recv_head(session, 1)
        except EOFError:
            text = "Failed to read header byte (socket FD invalid), closing socket now"
            self.warn("httpd_ws", f"httpd_ws_get_frame_type: {text}")
            session.ws_close = True
            return ESP_OK
        frame = Frame(session, first & 0x0F, bool(first & 0x80))
        if frame.opcode in (Opcode.PING, Opcode.CLOSE):
            session.ws_close = frame.opcode == Opcode.CLOSE
            error, payload = await self.recv_frame(frame, 126)
            if error != ESP_OK:
                return ESP_ERR_INVALID_STATE
            answer = (Opcode.CLOSE, b"") if session.ws_close else (Opcode.PONG, payload)
            return await self.ws_send(session.fd, *answer)
        if frame.opcode > Opcode.CLOSE:
            return ESP_OK  # a pong: its other bytes stay in the stream, as in 5.5.4
        with call("sendspin::SendspinWsServer::websocket_handler"):
            return await self.handlers.on_frame(frame)

    async def recv_frame(self, frame: Frame, limit: int) -> tuple[int, bytes]:
        """`httpd_ws_recv_frame`: header, then at most `limit` bytes of payload: (error, payload).

        With limit 0 it only fills in `frame.length`; a second call then takes the payload.
        """
        if frame.length == 0:
            error = await self._recv_length(frame)
            if error != ESP_OK:
                return error, b""
        if frame.length > limit:
            if limit == 0:
                return ESP_OK, b""
            self.warn("httpd_ws", "httpd_ws_recv_frame: WS Message too long")
            return ESP_ERR_INVALID_SIZE, b""
        payload = bytearray()
        while len(payload) < frame.length:
            part, error = await self._recv(frame.session, frame.length - len(payload))
            if not part or error:
                self.warn("httpd_ws", "httpd_ws_recv_frame: Failed to receive payload")
                return ESP_FAIL, b""
            payload += part
        return ESP_OK, bytes(XorMaskerSimple(frame.session.mask_key).process(payload))

    async def _recv_length(self, frame: Frame) -> int:
        """The rest of a frame's header."""
        session, missing = frame.session, "the second byte"
        try:
            (second,) = await self._recv_head(session, 1)
            frame.length = second & 0x7F
            if frame.length > 125:
                missing = "2 bytes length"
                length = await self._recv_head(session, 2 if frame.length == 126 else 8)
                frame.length = int.from_bytes(length, "big") & 0xFFFF_FFFF  # size_t of the C3
            if not second & 0x80:
                self.warn("httpd_ws", "httpd_ws_recv_frame: WS frame is not properly masked.")
                return ESP_ERR_INVALID_STATE
            missing = "mask key"
            session.mask_key = await self._recv_head(session, 4)
        except EOFError:
            self.warn("httpd_ws", f"httpd_ws_recv_frame: Failed to receive {missing}")
            return ESP_FAIL
        return ESP_OK

    # -- bytes ------------------------------------------------------------------------------------

    async def _recv_head(self, session: Session, size: int) -> bytes:
        """`size` bytes of a frame's header. Raises `EOFError`: the stream ended.

        A receive *error* passes for bytes of zero: 5.5.4 compares the negative result with an
        unsigned size. So a dead or stalled peer shows as a frame that is not masked, error 259.
        """
        data = b""
        while len(data) < size:
            part, error = await self._recv(session, size - len(data))
            if error:
                return bytes(size)
            if not part:
                raise EOFError
            data += part
        return data

    async def _recv(self, session: Session, size: int) -> tuple[bytes, bool]:
        """At most `size` bytes, and whether that failed (it is logged)."""
        try:
            return await session.recv(size), False
        except SocketError as error:
            self.sock_err("recv", error)
            return b"", True

    async def send(self, to: Socket, data: bytes) -> bool:
        """Send all that the window lets out; False and a warning: the peer is gone."""
        try:
            await to.send(data)
        except SocketError as error:
            self.sock_err("send", error)
            return False
        return True

    def sock_err(self, what: str, error: SocketError) -> None:
        """Warn of a failed socket call."""
        self.warn("httpd_txrx", f"httpd_sock_err: error in {what} : {error.errno}")
