"""The helper's answers: none is lost but packets, whose loss is counted."""

from __future__ import annotations

import asyncio

from rig.air.protocol import AnyAnswer, Seen, encode

_MOST_UNREAD = 1 << 20
"""Bytes of packet messages that wait for a reader; what comes then is counted, not kept."""


class Outlet(asyncio.Protocol):
    """Answers on stdout. Packets are the only ones that may be lost, and their loss is counted."""

    def __init__(self) -> None:
        self.lost = 0
        self._transport: asyncio.WriteTransport | None = None
        self._room = asyncio.Event()
        self._room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pipe is there (asyncio's)."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.set_write_buffer_limits(_MOST_UNREAD)

    def pause_writing(self) -> None:
        """The reader is far behind (asyncio's)."""
        self._room.clear()

    def resume_writing(self) -> None:
        """The reader has caught up (asyncio's)."""
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's)
        """The reader is gone (asyncio's)."""
        self._room.set()

    async def room(self) -> None:
        """Wait until the reader has taken most answers: no command is read before."""
        await self._room.wait()

    def say(self, answer: AnyAnswer) -> None:
        """Write one answer."""
        if isinstance(answer, Seen) and not self._room.is_set():
            self.lost += 1
            return
        if self._transport is not None:
            self._transport.write(encode(answer))
