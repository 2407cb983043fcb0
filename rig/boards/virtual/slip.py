"""SLIP framing (RFC 1055) as the ROM loader uses it: `C0` packet `C0`, escapes `DB DC`, `DB DD`."""

from __future__ import annotations

MAX_PACKET = 64 * 1024
"""Longest packet kept, in bytes on the wire; esptool's largest is 16 KiB of data, escaped."""


def encode(packet: bytes) -> bytes:
    """One packet as it goes over the wire."""
    return b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


class Decoder:
    """Bytes in, packets out. Noise between packets is skipped; memory is bounded."""

    def __init__(self) -> None:
        self._rest = b""
        self._inside = False

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that `data` completes. Empty packets (a doubled `C0`) are no packets."""
        packets: list[bytes] = []
        *whole, self._rest = (self._rest + data).split(b"\xc0")
        for raw in whole:
            if self._inside and raw:
                packets.append(raw.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb"))
                self._inside = False
            else:
                self._inside = True
        self._inside = self._inside and len(self._rest) <= MAX_PACKET
        if not self._inside:
            self._rest = b""
        return packets
