"""One TCP socket in the event loop: the thinnest layer that still tells a FIN from a RST.

asyncio's transports hide what this rig needs: which of the two ended a connection, when the kernel
took a byte, the receive window, and a half-close in each direction.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from typing import Final, Literal

from rig.history import now_ns

Ending = Literal["fin", "reset", "lost"]
"""How a peer ended: in order, with a RST, or the network lost it (time-out, unreachable)."""

CHUNK: Final = 65_536
SIOCOUTQ: Final = termios.TIOCOUTQ
"""Bytes sent and not yet acknowledged (tcp(7))."""

# The states in which Linux sends a RST for a socket closed with linger 0 (`tcp_need_reset`):
# ESTABLISHED, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT.
_RESETTABLE: Final = frozenset({1, 3, 4, 5, 8})
_CLOSED: Final = 7
_RCV_WND: Final = 232
"""Offset of `tcpi_rcv_wnd` in `struct tcp_info` (Linux 6.2 on)."""


def _nothing(*_: object) -> None:
    return None


class TcpStream:
    """A connected, non-blocking TCP socket.

    Callbacks: `on_data(data, t)`; `on_end(ending, t)` when the peer ended its half (`fin`) or all
    of it (`reset`, `lost`); `on_sent(data)` with what the kernel took; `on_drained()` when it took
    all; `on_closed()`. It closes itself when both halves have ended.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take over `sock`; call `start` once the callbacks are set."""
        self.sock = sock
        self.on_data: Callable[[bytes, int], None] = _nothing
        self.on_end: Callable[[Ending, int], None] = _nothing
        self.on_sent: Callable[[bytes], None] = _nothing
        self.on_drained: Callable[[], None] = _nothing
        self.on_closed: Callable[[], None] = _nothing
        self.open = True
        self.peer_ended = False
        self.write_ended = False
        self._loop = asyncio.get_running_loop()
        self._fd = sock.fileno()
        self._out = bytearray()
        self._corked = False
        self._fin_due = False
        self._paused: set[str] = set()
        self._reading = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        """Begin to read."""
        self._read_or_not()

    # -- state ------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return len(self._out)

    @property
    def unacknowledged(self) -> int:
        """Bytes that the kernel took and the peer has not acknowledged."""
        return self._count(SIOCOUTQ)

    @property
    def unread(self) -> int:
        """Bytes that the peer sent and nobody read."""
        return self._count(termios.FIONREAD)

    def _count(self, request: int) -> int:
        if not self.open:
            return 0
        return int(struct.unpack("i", fcntl.ioctl(self._fd, request, b"\0" * 4))[0])

    def _tcp_info(self) -> bytes:
        return self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512) if self.open else b""

    @property
    def resettable(self) -> bool:
        """Whether a reset now really puts a RST on the wire."""
        info = self._tcp_info()
        return bool(info) and info[0] in _RESETTABLE

    @property
    def dead(self) -> bool:
        """Whether the kernel has given the connection up (the peer reset it), read or not."""
        info = self._tcp_info()
        return not info or info[0] == _CLOSED

    @property
    def window(self) -> int | None:
        """The receive window last offered to the peer, in bytes; None: this kernel hides it."""
        info = self._tcp_info()
        if len(info) < _RCV_WND + 4:
            return None
        return int(struct.unpack_from("I", info, _RCV_WND)[0])

    # -- reading ----------------------------------------------------------------------------

    def pause(self, why: str) -> None:
        """Stop reading until `resume` with the same reason."""
        self._paused.add(why)
        self._read_or_not()

    def resume(self, why: str) -> None:
        """Take a reason for not reading away."""
        self._paused.discard(why)
        self._read_or_not()

    def _read_or_not(self) -> None:
        wanted = self.open and not self.peer_ended and not self._paused
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.add_reader(self._fd, self._readable)
        else:
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        try:
            data = self.sock.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._ended(_ending(error))
            return
        t = now_ns()
        if data:
            self.on_data(data, t)
        else:
            self._ended("fin")

    def _ended(self, ending: Ending) -> None:
        t = now_ns()
        self.peer_ended = True
        self._read_or_not()
        if ending != "fin" or self.write_ended:
            self.close()
        self.on_end(ending, t)

    # -- writing ----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data`, at once as far as the kernel takes it."""
        if not self.open or self.write_ended or self._fin_due:
            return
        if self._out or self._corked:
            self._out += data
            return
        sent = self._send(data)
        if self.open and sent < len(data):
            self._out += data[sent:]
            self._loop.add_writer(self._fd, self._writable)

    def _send(self, data: bytes) -> int:
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._broken(error)
            return 0
        self.on_sent(data[:sent])
        return sent

    def _broken(self, error: OSError) -> None:
        """A send failed: read what the peer sent before it reset the connection, then end."""
        if error.errno == errno.ENOBUFS:
            return
        while self.open:
            try:
                data = self.sock.recv(CHUNK)
            except OSError:
                break
            if not data:
                break
            self.on_data(data, now_ns())
        if self.open:
            self._ended(_ending(error))

    def cork(self) -> None:
        """Keep what is written until `uncork`, which sends it in one piece."""
        self._corked = True

    def uncork(self) -> None:
        """Send what was kept since `cork`."""
        self._corked = False
        if self.open and self._out:
            self._loop.add_writer(self._fd, self._writable)
            self._writable()

    def _writable(self) -> None:
        if self._corked:
            self._loop.remove_writer(self._fd)
            return
        sent = self._send(bytes(self._out[:CHUNK]))
        del self._out[:sent]
        if not self.open or self._out:
            return
        self._loop.remove_writer(self._fd)
        if self._fin_due:
            self._shut()
        self.on_drained()

    # -- ending -----------------------------------------------------------------------------

    def end_write(self) -> None:
        """Send a FIN behind what was written; the other direction goes on."""
        if not self.open or self.write_ended or self._fin_due:
            return
        self._fin_due = True
        self.uncork()
        if self.open and not self._out and not self.write_ended:
            self._shut()

    def _shut(self) -> None:
        self.write_ended = True
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._broken(error)
        if self.peer_ended:
            self.close()

    def reset(self) -> bool:
        """Close with a RST (SO_LINGER 0). Whether one was really due on the wire is returned."""
        if not self.open:
            return False
        real = self.resettable
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
        return real

    def close(self) -> None:
        """Close the socket; idempotent."""
        if not self.open:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._reading = False
        self.open = False
        self._out.clear()
        self.sock.close()
        self.on_closed()


def _ending(error: OSError) -> Ending:
    return "reset" if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN) else "lost"
