"""Capturing a board's packets: an AF_PACKET socket with a kernel filter, a pcap file by scapy."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from ctypes import addressof, create_string_buffer
from pathlib import Path
from typing import Any

from rig.air.bounds import Way
from rig.air.journal import as_caller
from rig.air.netfilter import NOWHERE
from rig.air.segment import Flows, Segment, parse
from rig.errors import FaultError

LONGEST_FILE = 256 << 20
"""Bytes of a pcap file; what comes then is only counted."""
_ETH_P_ALL, _OUTGOING = 3, 4
_SO_ATTACH_FILTER, _PACKET_STATISTICS, _SOL_PACKET = 26, 6, 263
_LARGEST_FRAME = 0x10100
_A_TURN, _TURNS = 64, 256
"""Frames taken before others get their turn; turns taken to catch up."""

Listener = Callable[[int, Segment, bool, bool], None]
"""Called with monotonic nanoseconds, the segment, whether it was seen before, and is forged."""


def board_filter(address: str) -> bytes:
    """A classic BPF program: IPv4 and ARP packets from or to `address`, whole."""
    board = struct.unpack("!I", socket.inet_aton(address))[0]
    word, half, equal, ret = 0x20, 0x28, 0x15, 0x06
    program = (
        (half, 0, 0, 12),
        (equal, 0, 4, 0x0800),
        (word, 0, 0, 26),
        (equal, 7, 0, board),
        (word, 0, 0, 30),
        (equal, 5, 6, board),
        (equal, 0, 5, 0x0806),
        (word, 0, 0, 28),
        (equal, 2, 0, board),
        (word, 0, 0, 38),
        (equal, 0, 1, board),
        (ret, 0, 0, 0x40000),
        (ret, 0, 0, 0),
    )
    return b"".join(struct.pack("=HBBI", *each) for each in program)


class Ear:
    """Hears every frame of one board; close it when done."""

    def __init__(self, way: Way) -> None:
        """Raises `FaultError` without the right to."""
        self.way = way
        self.flows = Flows()
        self.counts: Counter[str] = Counter()
        self.listeners: list[Listener] = []
        self.files: list[PcapFile] = []
        self.forged: deque[tuple[tuple[str, int], int, int]] = deque(maxlen=256)
        """What this process itself made: source, sequence number, flags. Nobody's word."""
        self._waiting: deque[tuple[Callable[[Segment], bool], asyncio.Future[Segment]]] = deque()
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            code = board_filter(way.address)
            buffer = create_string_buffer(code, len(code))
            program = struct.pack("HL", len(code) // 8, addressof(buffer))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self._socket.bind((way.interface, _ETH_P_ALL))
        except OSError as error:
            raise FaultError(f"cannot capture on {way.interface}: {error.strerror}") from error
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)

    def catch_up(self) -> None:
        """Take what has come already, at once: what is known then is the newest there is."""
        for _ in range(_TURNS):
            if not self._readable():
                return

    def _readable(self) -> bool:
        """Take some frames; whether there may be more."""
        for _ in range(_A_TURN):
            try:
                frame, place = self._socket.recvfrom(_LARGEST_FRAME)
            except BlockingIOError:
                return False
            except OSError:
                self.counts["interface_down"] += 1
                return False
            if self.way.loopback and place[2] == _OUTGOING:
                continue  # on loopback every frame passes twice
            self._take(frame)
        return True

    def _take(self, frame: bytes) -> None:
        now = time.monotonic_ns()
        segment = parse(frame)
        port = self.way.port
        if port is not None and (
            segment is None or port not in (segment.source[1], segment.destination[1])
        ):
            return  # this host's own traffic on an address that it shares with the board
        self.counts["packets"] += 1
        for file in self.files:
            file.write(frame)
        if frame[:6] == NOWHERE and frame[6:12] != NOWHERE:
            self.counts["nowhere"] += 1
        if segment is None:
            return
        forged = (segment.source, segment.seq, segment.flags) in self.forged
        again = self.flows.known(segment) if forged else self.flows.take(segment)
        self.counts["retransmissions"] += again
        for listener in self.listeners:
            listener(now, segment, again, forged)
        for wanted, answer in tuple(self._waiting):
            if not answer.done() and wanted(segment):
                answer.set_result(segment)

    async def hear(self, wanted: Callable[[Segment], bool], timeout: float) -> Segment | None:
        """The next segment that is `wanted`, None after `timeout` s."""
        answer: asyncio.Future[Segment] = self._loop.create_future()
        entry = (wanted, answer)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._waiting.remove(entry)

    def lost(self) -> int:
        """Frames that the kernel had no room for since the last call."""
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", raw)[1])

    def close(self) -> None:
        """Stop hearing."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for file in self.files:
            file.close()


class PcapFile:
    """A pcap file, each packet flushed; made as the user who called sudo, never over another."""

    def __init__(self, path: Path, packets: int) -> None:
        """Raises `FaultError` when it cannot be made."""
        import scapy.layers.inet  # noqa: F401 (now: it takes a while, and faults cannot wait)
        from scapy.utils import RawPcapWriter

        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with as_caller():
                fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise FaultError(
                f"cannot write the capture {path}: {error.strerror}",
                hint="a capture is never overwritten; is the folder there?",
            ) from error
        self._writer: Any = RawPcapWriter(os.fdopen(fd, "wb"), linktype=1, sync=True)
        self._writer.write_header(None)
        self._left, self._bytes = packets, 0

    def write(self, frame: bytes) -> None:
        """Append a frame, with the time of now; nothing beyond the bounds."""
        self._bytes += len(frame) + 16
        if self._left <= 0 or self._bytes > LONGEST_FILE:
            return
        self._left -= 1
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        self._writer.write_packet(frame, sec=seconds, usec=nanoseconds // 1000)

    def close(self) -> None:
        """Close it; idempotent."""
        self._writer.close()


class Ears:
    """One ear a board, opened when first needed."""

    def __init__(self) -> None:
        self._open: dict[str, Ear] = {}

    def on(self, way: Way) -> Ear:
        """The ear on a board."""
        ear = self._open.get(way.board)
        if ear is not None and ear.way != way:  # the board came back on another interface
            self._open.pop(way.board).close()
            ear = None
        if ear is None:
            ear = self._open[way.board] = Ear(way)
        return ear

    def close(self) -> None:
        """Close them all."""
        for ear in self._open.values():
            ear.close()
        self._open.clear()
