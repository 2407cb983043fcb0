"""What may be typed while `rig serve` runs: play, pause, another track, volume, groups."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import click

from rig.console.printable import printable
from rig.errors import RigError
from rig.servers.reference import ReferenceServer

HELP: Final = """\
play | pause | next | previous   what all of the group hear
volume N                         of every board, 0 to 100
leave BOARD | join BOARD         out of the group that plays, and into it
groups                           who is together
quit                             as Ctrl-C"""
BOUND: Final = 500
"""Bytes of a line that are taken."""


class Desk:
    """Does what is typed, line by line."""

    def __init__(self, server: ReferenceServer, left: asyncio.Event) -> None:
        """`left` is set at `quit`."""
        self._server = server
        self._left = left

    async def do(self, text: str) -> str | None:
        """Do one line; what is to be said about it. Raises `RigError`."""
        word, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        simple: dict[str, Callable[[], Awaitable[None]]] = {
            "play": self._server.performer().resume,
            "pause": self._server.performer().pause,
            "next": lambda: self._server.performer().skip(1),
            "previous": lambda: self._server.performer().skip(-1),
        }
        if word in simple and not rest:
            await simple[word]()
        elif word == "volume" and rest.isascii() and rest.isdigit() and int(rest[:4]) <= 100:
            self._server.set_volume(int(rest[:4]))
        elif word in ("leave", "join") and rest:
            await (self._server.leave if word == "leave" else self._server.join)(rest)
            return self._groups()
        elif word == "groups":
            return self._groups()
        elif word == "quit":
            self._left.set()
        elif word:
            return HELP
        return None

    def _groups(self) -> str:
        together = (" and ".join(map(printable, group)) for group in self._server.groups())
        return "groups: " + "; ".join(together)

    async def listen(self, fd: int) -> None:
        """Do what is typed until there is no more."""
        held = b""
        while data := await _readable(fd):
            *lines, held = (held + data).split(b"\n")
            held = held[-BOUND:]
            for line in lines:
                try:
                    said = await self.do(line[:BOUND].decode("utf-8", "replace"))
                except RigError as error:
                    said = f"{error.message}\n  next: {error.hint}"
                if said is not None:
                    click.echo(f"-- {said}", err=True)


async def _readable(fd: int) -> bytes:
    """The next bytes; empty: there is no more, or it cannot be waited for (a file)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except OSError:  # epoll takes no plain file
        return b""
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
    try:
        return os.read(fd, 4096)
    except OSError:  # a terminal of a job in the background
        return b""


def stdin() -> int | None:
    """The descriptor of stdin; None: there is none."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None
