"""How a session reaches its device: links, the device's own dialling, who plays the server."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator
from typing import TypedDict

from rig.boards.base import Address, Dials
from rig.boards.mdns import announced, local_address
from rig.errors import BoardError
from rig.history import HistoryStore
from rig.link import Link, Listening, Reception
from rig.servers import ScriptedServer, ServerKind
from rig.servers.played import PlayedServer

ANNOUNCED_AS = "sendspin-rig"
"""The name under which devices that dial find the rig's server."""


class _Linked(TypedDict):
    """What all links of a session have in common."""

    board: str
    numbers: Iterator[int]
    swallow: frozenset[str]


class Reach:
    """The ways to one device, and the servers in front of it; what it opens, `stack` closes."""

    def __init__(
        self,
        board: str,
        history: HistoryStore,
        stack: contextlib.AsyncExitStack,
        *,
        swallow: Collection[str] = (),
        kind: ServerKind = "scripted",
    ) -> None:
        """Nothing is open yet; `kind` plays the server once it is."""
        self.kind: ServerKind = kind
        self.address: Address | None = None
        self._board = board
        self._history = history
        self._stack = stack
        self._linked = _Linked(
            board=board,
            numbers=itertools.count(1),
            swallow=frozenset(name.replace("-", "_") for name in swallow),
        )
        self._reception: Reception | None = None
        self._servers: dict[ServerKind, ScriptedServer] = {}

    async def open(self, address: Address | None, dials: Dials | None) -> None:
        """Be ready to reach the device at `address`, or to be reached by it.

        Raises `BoardError` where it is neither.
        """
        self.address = address
        if dials is not None:
            host = str(local_address(dials.interface).ip)
            place = Listening(host, dials.port)
            self._reception = Reception(place, self._history.append, **self._linked)
            await self._stack.enter_async_context(self._reception)
            port = self._reception.address[1]
            await self._stack.enter_async_context(announced(ANNOUNCED_AS, host, port))
        elif address is None:
            raise BoardError(
                f"{self._board} has no address: nothing can be dialled",
                hint="give its `address` in bench.toml",
            )

    def place(self) -> tuple[str, int] | None:
        """Host and port of its endpoint, where it has one."""
        return (self.address.host, self.address.port) if self.address else None

    def new_link(self) -> Link:
        """Another link, its connections numbered on; whoever asked closes it.

        A device that dials has one place to dial to: always the same link.
        """
        if self._reception is not None:
            return self._reception
        if self.address is None:
            raise self._not_yet()
        return Link(self.address, self._history.append, **self._linked)

    async def use(self, kind: ServerKind) -> None:
        """Let this kind of server play from here on."""
        self.kind = kind
        if kind in self._servers:
            return
        link = await self._stack.enter_async_context(self.new_link())
        made = PlayedServer(link) if kind == "reference" else ScriptedServer(link)
        self._servers[kind] = await self._stack.enter_async_context(made)

    @property
    def server(self) -> ScriptedServer:
        """The one that plays now. Raises `BoardError` before `use`."""
        if self.kind not in self._servers:
            raise self._not_yet()
        return self._servers[self.kind]

    def _not_yet(self) -> BoardError:
        return BoardError(f"{self._board} is not prepared yet", hint="await prepare() first")
