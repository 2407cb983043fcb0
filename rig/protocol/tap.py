"""The passive tap: what both sides of one connection send, as events.

It is fed the bytes of both directions as they cross, in any chunking, and never raises, answers or
alters. Memory is bounded whatever crosses: some 50 KiB a connection.
"""

from __future__ import annotations

from typing import Final, Literal

from rig.history.events import (
    EarlyBytes,
    Event,
    Sender,
    UpgradeAnswered,
    UpgradeAsked,
    WireError,
)
from rig.protocol.frames import FrameReader, frame_extent
from rig.protocol.handshake import HEAD_BOUND, HEAD_END, accept_key, header, status_of
from rig.protocol.payload import Assembly, frame_event

EARLY_BOUND: Final = 65_536
"""Bytes before the upgrade answer that are held while a frame in them is still incomplete."""

EARLY_FRAMES: Final = 64
"""Frames before the upgrade answer that are told apart; later ones are lumped together."""

_ANSWER: Final = b"HTTP/1."
_SHOWN: Final = 64
"""Bytes of an odd beginning that are shown, in hex."""

Phase = Literal["asking", "answering", "frames", "over"]


class _Direction:
    """One side's bytes: its upgrade head first, then frames."""

    def __init__(self, sender: Sender, phase: Phase) -> None:
        self.sender: Sender = sender
        self.phase: Phase = phase
        self.pending = bytearray()
        self.reader = FrameReader()
        self.assembly = Assembly()


class Tap:
    """Turns the bytes of connection `conn` into events; sans-I/O.

    `dialler` is the side that opened the TCP connection and so asks for the upgrade.
    """

    def __init__(self, conn: int, *, dialler: Sender = "server") -> None:
        """`conn` is the connection's number in the history."""
        self.conn = conn
        self.answered: int | None = None
        """Status of the upgrade answer, None while there is none."""
        answerer: Sender = "device" if dialler == "server" else "server"
        self._sides = {
            dialler: _Direction(dialler, "asking"),
            answerer: _Direction(answerer, "answering"),
        }
        self._dialler: Sender = dialler
        self._key: str | None = None
        self._early_frames = 0

    @property
    def key(self) -> str | None:
        """The `Sec-WebSocket-Key` of the upgrade request, once it is complete."""
        return self._key

    def between_frames(self, sender: Sender) -> bool:
        """Whether what `sender` sends next begins a new frame (its upgrade head is complete)."""
        side = self._sides[sender]
        return side.phase == "frames" and not side.reader.inside and not side.pending

    def feed(self, sender: Sender, data: bytes, t: int) -> list[Event]:
        """The events that `data`, sent by `sender` and read at `t` (ns), completes."""
        side = self._sides[sender]
        if side.phase == "frames":
            return self._frames(side, data, t)
        if side.phase == "over" or not data:
            return []
        side.pending += data
        return self._ask(side, t) if side.phase == "asking" else self._answer(side, t)

    def end(self, sender: Sender, t: int, *, cut: bool = False) -> list[Event]:
        """What was left incomplete when `sender` ended its half of the connection.

        `cut`: it did not choose to (the other side reset the connection), so that an incomplete
        frame is not its fault; bytes before an upgrade answer are reported all the same.
        """
        side = self._sides[sender]
        if side.phase == "answering" and side.pending:
            size, head = len(side.pending), bytes(side.pending[:_SHOWN]).hex()
            side.pending.clear()
            side.phase = "over"
            if side.sender == "device":
                return [EarlyBytes(t=t, conn=self.conn, size=size, head=head)]
        if cut:
            return []
        if side.phase == "asking" and side.pending:
            side.phase = "over"
            return [self._wrong(side, "ended inside its upgrade request", t)]
        if side.phase == "frames" and side.reader.inside:
            side.phase = "over"
            return [self._wrong(side, "ended inside a frame", t)]
        return []

    # -- the side that asks -----------------------------------------------------------------

    def _ask(self, side: _Direction, t: int) -> list[Event]:
        end = side.pending.find(HEAD_END)
        if end < 0:
            if len(side.pending) > HEAD_BOUND or not _may_be_request(side.pending):
                return [self._give_up(side, "no HTTP request, as an upgrade begins with", t)]
            return []
        head = bytes(side.pending[: end + 4])
        rest = bytes(side.pending[end + 4 :])
        side.pending.clear()
        if not head.startswith(b"GET "):
            side.pending += head
            return [self._give_up(side, "no HTTP request, as an upgrade begins with", t)]
        self._key = header(head, "Sec-WebSocket-Key")
        side.phase = "frames"
        events: list[Event] = [UpgradeAsked(t=t, conn=self.conn)]
        return events + self._frames(side, rest, t) if rest else events

    # -- the side that answers --------------------------------------------------------------

    def _answer(self, side: _Direction, t: int) -> list[Event]:
        events: list[Event] = []
        while side.pending and side.phase == "answering":
            if side.pending.startswith(_ANSWER[: len(side.pending)]):
                end = side.pending.find(HEAD_END)
                if end < 0:
                    if len(side.pending) > HEAD_BOUND:
                        events.append(self._give_up(side, "an endless HTTP head", t))
                    return events
                events += self._answer_head(side, end + 4, t)
            else:
                size, is_frame = self._early_size(side)
                if not size:
                    return events
                events.append(self._early(side, size, t, is_frame=is_frame))
        return events

    def _answer_head(self, side: _Direction, size: int, t: int) -> list[Event]:
        head = bytes(side.pending[:size])
        rest = bytes(side.pending[size:])
        status = status_of(head)
        if status is None:
            return [self._give_up(side, "no HTTP answer", t)]
        side.pending.clear()
        events: list[Event] = []
        if status == 101 or status >= 200:
            self.answered = status
            events.append(UpgradeAnswered(t=t, conn=self.conn, status=status))
        if status == 101:
            events += self._agreed(side, head, t)
            events += self._frames(side, rest, t) if rest else []
        elif status >= 200:
            side.phase = "over"
        else:
            side.pending += rest
        return events

    def _agreed(self, side: _Direction, head: bytes, t: int) -> list[Event]:
        """Both directions are frames from here on."""
        side.phase = "frames"
        if "permessage-deflate" in (header(head, "Sec-WebSocket-Extensions") or ""):
            for each in self._sides.values():
                each.reader = FrameReader(compressed=True)
        given = header(head, "Sec-WebSocket-Accept")
        if self._key is None or given == accept_key(self._key):
            return []
        said = f"its Sec-WebSocket-Accept is {given!r}, not the one that answers the request"
        return [self._wrong(side, said[:300], t)]

    def _early_size(self, side: _Direction) -> tuple[int, bool]:
        """How many of the bytes before the answer can be reported now; are they one frame?"""
        answer = side.pending.find(_ANSWER)
        junk = answer if answer > 0 else len(side.pending) - _torn_answer(side.pending)
        if self._early_frames >= EARLY_FRAMES:
            return junk, False
        try:
            extent = frame_extent(bytes(side.pending[:14]))
        except ValueError:
            return junk, False
        if extent is not None and extent <= len(side.pending):
            self._early_frames += 1
            return extent, True
        if answer > 0:
            return answer, False
        return (junk if len(side.pending) > EARLY_BOUND else 0), False

    def _early(self, side: _Direction, size: int, t: int, *, is_frame: bool) -> Event:
        data = bytes(side.pending[:size])
        del side.pending[:size]
        frames = FrameReader().feed(data) if is_frame else []
        if side.sender == "server":
            return self._wrong(side, f"sent {size} bytes before its upgrade answer", t)
        if not frames:
            return EarlyBytes(t=t, conn=self.conn, size=size, head=data[:_SHOWN].hex())
        frame, _ = frame_event(self.conn, side.sender, frames[0], Assembly(), t)
        return EarlyBytes(
            t=t,
            conn=self.conn,
            size=size,
            head=data[:_SHOWN].hex(),
            opcode=frame.opcode,
            type=frame.type,
            message=frame.message,
        )

    # -- frames -----------------------------------------------------------------------------

    def _frames(self, side: _Direction, data: bytes, t: int) -> list[Event]:
        events: list[Event] = []
        for raw in side.reader.feed(data):
            event, wrong = frame_event(self.conn, side.sender, raw, side.assembly, t)
            events.append(event)
            if wrong is not None:
                events.append(self._wrong(side, wrong, t))
        if side.reader.error is not None:
            side.phase = "over"
            events.append(self._wrong(side, side.reader.error, t))
        return events

    def _wrong(self, side: _Direction, text: str, t: int) -> WireError:
        return WireError(t=t, conn=self.conn, sender=side.sender, text=text)

    def _give_up(self, side: _Direction, expected: str, t: int) -> WireError:
        shown = bytes(side.pending[:_SHOWN]).hex()
        side.pending.clear()
        side.phase = "over"
        return self._wrong(side, f"{expected}: {shown}", t)


def _may_be_request(pending: bytearray) -> bool:
    return pending.startswith(b"GET "[: len(pending)])


def _torn_answer(pending: bytearray) -> int:
    """How many bytes at the end may be the beginning of an upgrade answer."""
    return next((n for n in range(len(_ANSWER) - 1, 0, -1) if pending.endswith(_ANSWER[:n])), 0)
