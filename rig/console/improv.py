"""Improv over serial: WiFi credentials for a device over its console, between its log lines.

Sans-I/O. Protocol: improv-wifi.com/serial (version 1): `IMPROV`, version, type, length, data, and a
sum over all of it modulo 256; strings go behind their length. There is no library for it on PyPI
(py-improv-ble-client is for Bluetooth). A line end is added after each packet, as Improv's own
SDK does; what a device sends is searched for packets, whatever is around them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

HEADER = b"IMPROV"
VERSION = 1
_OVERHEAD = len(HEADER) + 3
_LONGEST = _OVERHEAD + 255 + 1


class State(IntEnum):
    """Where the device is."""

    AWAITING_AUTHORIZATION = 1
    AUTHORIZED = 2
    PROVISIONING = 3
    PROVISIONED = 4


class Command(IntEnum):
    """What a client may ask for."""

    WIFI_SETTINGS = 1
    CURRENT_STATE = 2
    DEVICE_INFO = 3


_STATE, _ERROR, _COMMAND, _RESULT = 1, 2, 3, 4
ERRORS = {
    1: "it could not read the request",
    2: "it does not know the request",
    3: "it could not join the network",
    4: "it was not authorised: press its button",
    0xFF: "it gave no reason",
}
"""What a device's error code says, for people."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A whole packet. `data` may hold secrets on its way to a device."""

    kind: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a command."""

    command: int
    strings: tuple[str, ...]


def encode(kind: int, data: bytes) -> bytes:
    """A packet's bytes, with the line end after it. Raises `ValueError` above 255 bytes."""
    if len(data) > 255:
        raise ValueError(f"{len(data)} bytes of data, at most 255 go into a packet")
    body = HEADER + bytes([VERSION, kind, len(data)]) + data
    return body + bytes([sum(body) & 0xFF]) + b"\n"


def request(command: Command, data: bytes = b"") -> bytes:
    """A command's packet."""
    return encode(_COMMAND, bytes([command, len(data)]) + data)


def wifi_settings(ssid: str, passphrase: str) -> bytes:
    """The packet that hands the credentials over."""
    parts = [text.encode() for text in (ssid, passphrase)]
    return request(Command.WIFI_SETTINGS, b"".join(bytes([len(part)]) + part for part in parts))


class Decoder:
    """Finds packets in what a device prints; holds at most one packet's length of it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are whole by now; what is torn or fails its sum is passed over."""
        found: list[Packet] = []
        self._held += data
        while (at := self._held.find(HEADER)) >= 0:
            del self._held[:at]
            if len(self._held) < _OVERHEAD:
                return found
            length = self._held[_OVERHEAD - 1]
            end = _OVERHEAD + length
            if self._held[len(HEADER)] != VERSION:
                del self._held[:1]
                continue
            if len(self._held) <= end:
                return found
            if sum(self._held[:end]) & 0xFF != self._held[end]:
                del self._held[:1]  # a header within this one may be the true one
                continue
            found.append(Packet(self._held[len(HEADER) + 1], bytes(self._held[_OVERHEAD:end])))
            del self._held[: end + 1]
        del self._held[: max(0, len(self._held) - len(HEADER) + 1)]
        return found


def read_result(data: bytes) -> Result | None:
    """The command and the strings of an answer; None where it is malformed."""
    if len(data) < 2 or data[1] != len(data) - 2:
        return None
    strings, at = [], 2
    while at < len(data):
        length = data[at]
        if at + 1 + length > len(data):
            return None
        strings.append(data[at + 1 : at + 1 + length].decode("utf-8", "replace"))
        at += 1 + length
    return Result(data[0], tuple(strings))


class Failed(Exception):
    """The device said no; the message says why, and never holds a credential."""


class Client:
    """Hands credentials over: bytes in, bytes out. Begin with `ask()`; done when `url` is set."""

    def __init__(self, ssid: str, passphrase: str) -> None:
        self._settings = wifi_settings(ssid, passphrase)
        self._decoder = Decoder()
        self._sent = False
        self.state: State | None = None
        """What the device said last; None: it has not answered yet."""
        self.url: str | None = None
        """Where the device says to go on, once it has joined (may be empty)."""

    def ask(self) -> bytes:
        """The first request; to be sent again while nothing answers."""
        return request(Command.CURRENT_STATE)

    def receive(self, data: bytes) -> bytes:
        """What to send in turn. Raises `Failed`."""
        out = b""
        for packet in self._decoder.feed(data):
            out += self._packet(packet)
        return out

    def _packet(self, packet: Packet) -> bytes:
        if packet.kind == _STATE and packet.data and packet.data[0] in State:
            self.state = State(packet.data[0])
            if self.state is State.AWAITING_AUTHORIZATION:
                raise Failed(ERRORS[4])
            if not self._sent:
                self._sent = True
                return self._settings
        elif packet.kind == _ERROR and packet.data and packet.data[0] and self._sent:
            code = packet.data[0]
            raise Failed(ERRORS.get(code, f"it gave error {code}"))
        elif packet.kind == _RESULT and self._sent:
            result = read_result(packet.data)
            if result is not None and result.command == Command.WIFI_SETTINGS:
                self.url = result.strings[0] if result.strings else ""
        return b""
