"""The stall: the first byte of a frame and no more, and the proof that the device has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from rig.link.shape import Shaper
from rig.link.stream import TcpStream
from rig.protocol import encode_frame

FIRST: Final = b"\x81"
"""First byte of a text frame: a server task that has read it waits for the rest."""
_REST: Final = encode_frame("text", mask=bytes(4))[1:]

_POLL: Final = 0.002
"""Seconds between looks: nothing wakes a process when a byte is acknowledged."""


class Stall:
    """Stalls `stream`, holding back what `shaper` passes to it.

    `on_taken` is called when the peer's TCP has acknowledged the byte.
    """

    def __init__(self, stream: TcpStream, shaper: Shaper, on_taken: Callable[[], None]) -> None:
        """Nothing is sent until `begin`."""
        self.on = False
        self._stream = stream
        self._shaper = shaper
        self._on_taken = on_taken
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """Send the byte and hold the rest."""
        if self.on or not self._stream.open:
            return
        self.on = True
        self._stream.write(FIRST)
        self._shaper.shape(held=True)
        self._look()

    def end(self) -> None:
        """Complete the frame (an empty text), then send what waited."""
        if not self.on or not self._stream.open:
            return
        self.on = False
        self._stream.write(_REST)
        self._shaper.shape()

    def _look(self) -> None:
        if not self.on or not self._stream.open:
            return
        if self._stream.buffered or self._stream.unacknowledged:
            self._loop.call_later(_POLL, self._look)
        else:
            self._on_taken()
