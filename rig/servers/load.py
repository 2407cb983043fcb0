"""How audio fares while faults come: late and lost chunks, how far ahead, the clock's answers.

A pure observer of the history: it sees what left for the device, not what the device made of it.
What the device does not tell is None, and stays so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from rig.history import Entry, now_ns
from rig.history.events import AudioFared, ConnectionClosed, ConnectionOpened, Frame, LogLine
from rig.protocol.names import AUDIO_ID, CLEAR_IN_NOISE
from rig.protocol.payload import payload_of

KEPT: Final = 4_096
"""Values kept for a median between two reports."""
DRIFT_S: Final = 60.0
"""Seconds of client/time from which a clock's drift is told."""
_GAP: Final = 1.5
"""A step of so many chunks between two time stamps has lost something in it."""
_ERROR = re.compile(r"Burst complete.*best max_error: (\d{1,12}) us")
"""sendspin-cpp `time_burst`, level V (sendspin-serial-log facts)."""


@dataclass(slots=True)
class _Stream:
    """One connection."""

    epoch_us: int
    born_ns: int
    since_ns: int
    sealed: bool = False
    told: bool = False
    """Whether what is sealed is told as well."""
    chunks: int = 0
    late: int = 0
    lost: int = 0
    ahead_ms: list[float] = field(default_factory=list)
    answers_ms: list[float] = field(default_factory=list)
    asked_ns: int | None = None
    last_us: int | None = None
    step_us: int | None = None
    first_offset: tuple[int, int] | None = None
    best_offset: tuple[int, int] | None = None
    """(when, host minus device clock) in ns: the least delayed of the first and last exchanges."""

    def forget(self, t: int) -> None:
        """Begin the next stretch."""
        self.since_ns = t
        self.chunks = self.late = self.lost = 0
        self.ahead_ms.clear()
        self.answers_ms.clear()


class LoadWatch:
    """Feed it the history's entries; `report` tells of what came since the last one."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}
        self._told_error_us: int | None = None

    def __call__(self, entry: Entry) -> None:
        """Take one entry."""
        match entry.event:
            case Frame() as frame:
                stream = self._streams.get(frame.conn)
                if stream is not None:
                    _take(stream, frame)
            case ConnectionOpened() as opened:
                self._streams[opened.conn] = _Stream(opened.epoch_us, opened.t, opened.t)
            case ConnectionClosed(conn=conn):
                stream = self._streams.get(conn)
                if stream is not None and not stream.chunks:
                    del self._streams[conn]  # nothing to tell of
            case LogLine(text=text) if "max_error" in text:
                told = _ERROR.search(text)
                self._told_error_us = int(told[1]) if told else self._told_error_us
            case _:
                pass

    def report(self, conn: int, *, over: bool = False) -> AudioFared | None:
        """What happened on `conn` since its last report; None: no audio. `over` forgets it."""
        stream = self._streams.get(conn)
        if stream is None:
            return None
        t = now_ns()
        told = self._told(conn, stream, t) if stream.chunks else None
        stream.forget(t)
        if over:
            del self._streams[conn]
        return told

    def _told(self, conn: int, stream: _Stream, t: int) -> AudioFared:
        open_ = not stream.sealed
        return AudioFared(
            t=t,
            conn=conn,
            seconds=round((t - stream.since_ns) / 1e9, 3),
            chunks=stream.chunks,
            late=stream.late if open_ else None,
            lost=stream.lost if open_ else None,
            ahead_min_ms=round(min(stream.ahead_ms), 1) if stream.ahead_ms else None,
            ahead_median_ms=round(median(stream.ahead_ms), 1) if stream.ahead_ms else None,
            answer_median_ms=round(median(stream.answers_ms), 3) if stream.answers_ms else None,
            answer_worst_ms=round(max(stream.answers_ms), 3) if stream.answers_ms else None,
            clock_drift_ppm=_drift(stream),
            clock_error_us=self._told_error_us,
        )


def _take(stream: _Stream, frame: Frame) -> None:
    if frame.sealed is not None:
        stream.sealed, stream.told = False, True  # the server told what was in its seal
    elif stream.told and frame.opcode == "binary":
        return
    if frame.type in CLEAR_IN_NOISE and not stream.told:
        stream.sealed = True
    elif frame.opcode == "binary" and frame.sender == "server":
        _chunk(stream, frame)
    elif frame.type == "client/time" and frame.sender == "device":
        stream.asked_ns = frame.t
        _offset(stream, frame)
    elif frame.type == "server/time" and stream.asked_ns is not None:
        _keep(stream.answers_ms, (frame.t - stream.asked_ns) / 1e6)
        stream.asked_ns = None
    elif frame.type in ("stream/start", "stream/clear", "stream/end"):
        stream.last_us = None


def _chunk(stream: _Stream, frame: Frame) -> None:
    if stream.sealed:
        stream.chunks += 1
        return
    head = bytes.fromhex(frame.head or "")
    if len(head) < 9 or head[0] != AUDIO_ID:
        return
    stream.chunks += 1
    due = int.from_bytes(head[1:9], "big", signed=True)
    ahead = due - (stream.epoch_us + (frame.t - stream.born_ns) // 1_000)
    _keep(stream.ahead_ms, ahead / 1_000)
    stream.late += ahead < 0
    if stream.last_us is not None and due > stream.last_us:
        step = due - stream.last_us
        if stream.step_us is None or step < stream.step_us:
            stream.step_us = step
        elif step > _GAP * stream.step_us:
            stream.lost += round(step / stream.step_us) - 1
    stream.last_us = due


def _offset(stream: _Stream, frame: Frame) -> None:
    """Keep the least delayed exchange of the first and of the latest half minute."""
    sent = payload_of(frame).get("client_transmitted")
    if not isinstance(sent, int):
        return
    here = (frame.t, frame.t - sent * 1_000)
    first = stream.first_offset
    if first is None or (frame.t - stream.born_ns < 30e9 and here[1] < first[1]):
        stream.first_offset = here
    best = stream.best_offset
    if best is None or frame.t - best[0] > 30e9 or here[1] < best[1]:
        stream.best_offset = here


def _drift(stream: _Stream) -> float | None:
    if stream.first_offset is None or stream.best_offset is None:
        return None
    (begun, first), (ended, last) = stream.first_offset, stream.best_offset
    if ended - begun < DRIFT_S * 1e9:
        return None
    return round((first - last) / (ended - begun) * 1e6, 2)


def _keep(values: list[float], value: float) -> None:
    values.append(value)
    if len(values) > KEPT:
        del values[::2]
