"""TCP segments in Ethernet frames: read, and followed to tell retransmissions. Sans-I/O."""

from __future__ import annotations

import socket
import struct
from collections import OrderedDict
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_LETTERS = "FSRPAUEC"
_MOST_FLOWS = 1024
_HALF, _MASK = 1 << 31, (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment over IPv4 over Ethernet."""

    source_mac: bytes
    destination_mac: bytes
    source: tuple[str, int]
    destination: tuple[str, int]
    flags: int
    seq: int
    ack: int
    window: int
    payload: bytes

    @property
    def letters(self) -> str:
        """Flags as letters: F S R P A U E C."""
        return "".join(each for bit, each in enumerate(_LETTERS) if self.flags >> bit & 1)

    @property
    def end(self) -> int:
        """The sequence number behind it: SYN and FIN take one each."""
        taken = len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)
        return (self.seq + taken) & _MASK


def parse(frame: bytes) -> Segment | None:
    """Read a frame; None: no whole TCP segment in an unfragmented IPv4 packet."""
    if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4:
        return None
    header, total = (frame[14] & 15) * 4, struct.unpack_from("!H", frame, 16)[0]
    fragment = struct.unpack_from("!H", frame, 20)[0] & 0x3FFF
    tcp, end = 14 + header, 14 + total
    if header < 20 or frame[23] != socket.IPPROTO_TCP or fragment or end > len(frame):
        return None
    if tcp + 20 > end:
        return None
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", frame, tcp)
    data = tcp + (offset >> 4) * 4
    if offset >> 4 < 5 or data > end:
        return None
    return Segment(
        frame[6:12],
        frame[:6],
        (socket.inet_ntoa(frame[26:30]), sport),
        (socket.inet_ntoa(frame[30:34]), dport),
        flags,
        seq,
        ack,
        window,
        frame[data:end],
    )


def after(a: int, b: int) -> bool:
    """Whether sequence number `a` lies behind `b`, around the wrap (RFC 793)."""
    return 0 < (a - b) & _MASK < _HALF


@dataclass(slots=True)
class Half:
    """What one side of a connection has sent, as far as it was seen."""

    next: int
    """The sequence number of its next new byte."""
    acked: int
    """The other side's next byte, by its acknowledgements."""
    window: int
    last_data: bytes = b""
    """The payload that ended at `next`."""


class Flows:
    """Connections as a capture shows them; the least recently seen are forgotten."""

    def __init__(self) -> None:
        self._halves: OrderedDict[tuple[tuple[str, int], tuple[str, int]], Half] = OrderedDict()

    def half(self, source: tuple[str, int], destination: tuple[str, int]) -> Half | None:
        """What `source` has sent to `destination`."""
        return self._halves.get((source, destination))

    def known(self, segment: Segment) -> bool:
        """Whether it says nothing new; nothing is learned from it."""
        half = self.half(segment.source, segment.destination)
        return half is not None and segment.end != segment.seq and not after(segment.end, half.next)

    def take(self, segment: Segment) -> bool:
        """Account for a segment; True: it was seen before (a retransmission)."""
        if segment.flags & RST:
            return False
        key = (segment.source, segment.destination)
        half = self._halves.get(key)
        again = False
        if half is None or (segment.flags & SYN and segment.end != half.next):
            half = self._halves[key] = Half(segment.end, segment.ack, segment.window)
            half.last_data = segment.payload
            if len(self._halves) > _MOST_FLOWS:
                self._halves.popitem(last=False)
        elif segment.end != segment.seq and not after(segment.end, half.next):
            again = True
        elif after(segment.end, half.next):
            half.next, half.last_data = segment.end, segment.payload
        if segment.flags & ACK:
            half.acked, half.window = segment.ack, segment.window
        self._halves.move_to_end(key)
        return again
