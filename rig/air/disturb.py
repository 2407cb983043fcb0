"""Delay, loss, reordering, duplicates and damage in user space, with netem's parameters.

Packets wait in an NFQUEUE until this process lets them go. When it dies the kernel lets them pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
from collections import Counter
from dataclasses import dataclass

from rig.air import nfqueue
from rig.air.netfilter import FORGED_MARK
from rig.air.nfqueue import ACCEPT, DROP, Failed, Queued
from rig.air.protocol import Disturb
from rig.errors import FaultError

MOST_HELD = 1024
"""Packets that wait at once; what comes then goes on at once."""
_FIRST_QUEUE, _QUEUES = 21_000, 200
_NETLINK_NETFILTER = 12
_LEAST_DAMAGED = 20
"""The IP header is left alone: a damaged one would be somebody else's packet."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What is to become of one packet."""

    lost: bool = False
    delay_s: float = 0.0
    overtakes: bool = False
    doubled: bool = False
    damaged_bit: float | None = None
    """Where in the packet behind the IP header, 0 to 1."""


def fate(command: Disturb, rng: random.Random) -> Fate:
    """Throw the dice for one packet; they depend on the seed and the packet's turn alone."""
    lose, overtake, double, damage, wobble, place = (rng.random() for _ in range(6))
    if lose < command.loss:
        return Fate(lost=True)
    overtakes = overtake < command.reorder and command.delay_ms > 0
    wait = command.delay_ms + command.jitter_ms * (2 * wobble - 1)
    return Fate(
        delay_s=0.0 if overtakes else max(0.0, wait) / 1000,
        overtakes=overtakes,
        doubled=double < command.duplicate,
        damaged_bit=place if damage < command.corrupt else None,
    )


def damaged(packet: bytes, where: float) -> bytes:
    """The packet with one bit flipped behind the IP header; its checksum is left as it was."""
    start = max(_LEAST_DAMAGED, (packet[0] & 15) * 4) if packet else 0
    if len(packet) <= start:
        return packet
    bit = int(where * (len(packet) - start) * 8)
    changed = bytearray(packet)
    changed[start + bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class Disturber:
    """Holds packets of one queue back; close it to let go of them all."""

    def __init__(self, command: Disturb) -> None:
        """Take a free queue. Raises `FaultError`: the kernel has none to offer."""
        self.counts: Counter[str] = Counter()
        self._command = command
        self._rng = random.Random(command.seed)
        self._held: dict[int, tuple[asyncio.TimerHandle, bytes | None]] = {}
        self._socket, self.queue = _free_queue()
        self._socket.setblocking(False)
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, FORGED_MARK)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(0x20000)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # ENOBUFS: packets were lost, the next ones come
                raise
            self.counts["overrun"] += 1
            return
        for message in nfqueue.read(data):
            if isinstance(message, Queued):
                self._take(message)

    def _take(self, packet: Queued) -> None:
        self.counts["taken"] += 1
        what = fate(self._command, self._rng)
        if what.lost:
            self.counts["lost"] += 1
            self._send(packet.id, DROP)
            return
        payload = None
        if what.damaged_bit is not None:
            self.counts["damaged"] += 1
            payload = damaged(packet.payload, what.damaged_bit)
        if what.doubled:
            self.counts["doubled"] += 1
            self._again(packet.payload)
        if what.overtakes:
            self.counts["overtaking"] += 1
        if what.delay_s <= 0 or len(self._held) >= MOST_HELD:
            self._send(packet.id, ACCEPT, payload)
            return
        self.counts["delayed"] += 1
        timer = self._loop.call_later(what.delay_s, self._let_go, packet.id)
        self._held[packet.id] = (timer, payload)

    def _let_go(self, number: int) -> None:
        _, payload = self._held.pop(number)
        self._send(number, ACCEPT, payload)

    def _again(self, packet: bytes) -> None:
        """Send a copy the same way; a host's own packets to itself come in again by loopback."""
        if len(packet) >= _LEAST_DAMAGED:
            with contextlib.suppress(OSError):
                self._raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    def _send(self, number: int, what: int, payload: bytes | None = None) -> None:
        with contextlib.suppress(OSError):  # the queue was flushed meanwhile
            self._socket.send(nfqueue.verdict(self.queue, number, what, payload))

    def close(self) -> None:
        """Let everything go that is held, and stop."""
        for number, (timer, payload) in list(self._held.items()):
            timer.cancel()
            self._send(number, ACCEPT, payload)
        self._held.clear()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._raw.close()


def _free_queue() -> tuple[socket.socket, int]:
    """A netlink socket bound to a queue that nobody else has."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    sock.settimeout(2.0)
    sock.bind((0, 0))
    code = 0
    for queue in range(_FIRST_QUEUE, _FIRST_QUEUE + _QUEUES):
        try:
            sock.send(nfqueue.bind(queue, MOST_HELD))
            codes: list[int] = []
            while len(codes) < 3:
                codes += [m.errno for m in nfqueue.read(sock.recv(4096)) if isinstance(m, Failed)]
        except OSError as error:
            code = error.errno or 0
            break
        code = next(filter(None, codes), 0)
        if code == 0:
            return sock, queue
        if code not in (errno.EBUSY, errno.EPERM, errno.ENODEV):
            break
    sock.close()
    raise FaultError(
        f"the kernel gives no packet queue: {os.strerror(code)}",
        hint="delay, reordering, duplicates and damage need CONFIG_NETFILTER_NETLINK_QUEUE",
    )
