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
        self._pending: list[bytes] = []
        self._size = 0
        self._inside = False

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that `data` completes. Empty packets (a doubled `C0`) are no packets."""
        packets: list[bytes] = []
        *whole, rest = data.split(b"\xc0")
        for piece in whole:
            self._keep(piece)
            raw = b"".join(self._pending)
            if self._inside and raw:
                packets.append(raw.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb"))
                self._inside = False
            else:
                self._inside = True
            self._pending.clear()
            self._size = 0
        self._keep(rest)
        return packets

    def _keep(self, piece: bytes) -> None:
        if not self._inside or not piece:
            return
        self._size += len(piece)
        if self._size > MAX_PACKET:
            self._pending.clear()
            self._size = 0
            self._inside = False
            return
        self._pending.append(piece)
