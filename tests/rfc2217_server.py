"""A serial port behind RFC 2217: pyserial's own `PortManager`, as ser2net would serve it.

A pty has no modem lines: `Lines` is pyserial's port that notes them instead of setting them.
"""

from __future__ import annotations

import os
import pty
import socket
import threading
import tty
from collections.abc import Callable

import serial
import serial.rfc2217


class Lines(serial.Serial):
    """Notes each state of DTR and RTS; the pty under it has neither."""

    states: list[tuple[bool, bool]]
    on_lines: Callable[[bool, bool], None] = staticmethod(lambda _dtr, _rts: None)
    """Called with DTR and RTS, as they are asserted."""

    def _update_dtr_state(self) -> None:
        self._note()

    def _update_rts_state(self) -> None:
        self._note()

    def _note(self) -> None:
        if self.is_open:
            self.states.append((self._dtr_state, self._rts_state))
            self.on_lines(self._dtr_state, self._rts_state)

    cts = dsr = ri = cd = False


class Server:
    """Serves one port to one client at a time, as pyserial's example server does."""

    def __init__(self, device: str | None = None) -> None:
        """`device`: what it serves; else a pty, whose other end is `board`."""
        self._ends: list[int] = []
        if device is None:
            self.board, slave = pty.openpty()
            self._ends = [self.board, slave]
            tty.setraw(slave)
            device = os.ttyname(slave)
        self.port = Lines()
        self.port.states = []
        self.port.port = device
        self.port.timeout = 0.02
        self.port.open()
        self.port.states.clear()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._listener.getsockname()[1]}"
        self._client: socket.socket | None = None
        self._over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._client = client
            manager = serial.rfc2217.PortManager(self.port, _Connection(client))
            reader = threading.Thread(target=self._read, args=(client, manager), daemon=True)
            reader.start()
            try:
                while data := client.recv(4096):
                    self.port.write(b"".join(manager.filter(data)))
            except OSError:
                pass
            client.close()
            reader.join()

    def _read(self, client: socket.socket, manager: serial.rfc2217.PortManager) -> None:
        try:
            while client.fileno() >= 0:
                if data := self.port.read(self.port.in_waiting or 1):
                    client.sendall(b"".join(manager.escape(data)))
        except (OSError, serial.SerialException):
            return

    def hang_up(self) -> None:
        """As a server does that is started anew."""
        assert self._client is not None
        self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._client is not None and self._client.fileno() >= 0:
            self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.port.close()
        for end in self._ends:
            os.close(end)


class _Connection:
    """What `PortManager` answers through."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client

    def write(self, data: bytes) -> None:
        self._client.sendall(data)
