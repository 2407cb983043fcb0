"""The audio format that a device asks for, and the one that it gets.

A pure observer of the history: client/hello lists what the device takes, the most wanted first;
client/state (noise) or stream/request-format (legacy) may name one of them later; stream/start says
what is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rig.history import Entry, Event, now_ns
from rig.history.events import ConnectionClosed, FormatChosen, Frame
from rig.protocol.payload import payload_of

MOST: Final = 16
"""Formats of a device that are kept."""
_BOUND: Final = 40
"""Characters of a field that are kept: a device may send anything."""


def format_words(given: object) -> str:
    """A format in a few words: `flac 48000 Hz, 2 channels, 16 bit`."""
    if not isinstance(given, dict):
        return "no format"
    codec, rate, channels, depth = (
        f"{given.get(key, '?')}"[:_BOUND]
        for key in ("codec", "sample_rate", "channels", "bit_depth")
    )
    return f"{codec} {rate} Hz, {channels} channels, {depth} bit"


def _same(one: object, other: dict[str, Any]) -> bool:
    """Whether both are one format; Opus has no bit depth (spec, roles/player)."""
    if not isinstance(one, dict):
        return False
    keys = ["codec", "sample_rate", "channels"]
    keys += [] if other.get("codec") == "opus" else ["bit_depth"]
    return all(one.get(key) == other.get(key) for key in keys)


class FormatWatch:
    """Feed it the history's entries: it records a `FormatChosen` for each stream that begins."""

    def __init__(self, record: Callable[[Event], int]) -> None:
        """`record` takes the events."""
        self._record = record
        self._wanted: dict[int, list[object]] = {}

    def __call__(self, entry: Entry) -> None:
        """Take one entry."""
        event = entry.event
        if isinstance(event, ConnectionClosed):
            self._wanted.pop(event.conn, None)
        elif isinstance(event, Frame) and event.type is not None:
            self._take(event)

    def _take(self, frame: Frame) -> None:
        payload = payload_of(frame)
        if frame.sender == "device" and frame.type == "client/hello":
            support = payload.get("player@v1_support", payload.get("player_support"))
            formats = support.get("supported_formats") if isinstance(support, dict) else None
            if isinstance(formats, list):
                self._wanted[frame.conn] = formats[:MOST]
            return
        player = payload.get("player")
        if not isinstance(player, dict) or frame.conn not in self._wanted:
            return
        wanted = self._wanted[frame.conn]
        if frame.sender == "server" and frame.type == "stream/start":
            self._chosen(frame.conn, wanted, player)
        elif frame.sender == "device" and frame.type == "stream/request-format":
            self._prefer(wanted, player)
        elif frame.sender == "device" and frame.type == "client/state":
            self._prefer(wanted, player.get("format"))

    def _prefer(self, wanted: list[object], asked: object) -> None:
        """Put one of the formats first, as far as `asked` names one."""
        if not isinstance(asked, dict):
            return
        keys = ("codec", "sample_rate", "channels", "bit_depth")
        named = {key: asked[key] for key in keys if key in asked}
        for each in wanted:
            if isinstance(each, dict) and named and named.items() <= each.items():
                wanted.remove(each)
                wanted.insert(0, each)
                return

    def _chosen(self, conn: int, wanted: list[object], given: dict[str, Any]) -> None:
        place = next((n for n, each in enumerate(wanted) if _same(each, given)), None)
        asked = tuple(format_words(each) for each in wanted)
        self._record(
            FormatChosen(t=now_ns(), conn=conn, asked=asked, given=format_words(given), place=place)
        )
