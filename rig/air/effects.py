"""The faults that are up: what each changed, what counts for it, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pyroute2.netlink.exceptions import NetlinkError

from rig.air import links, netem
from rig.air.bounds import Way
from rig.air.journal import Change, Device, Journal, Link, Qdisc, Table
from rig.air.netfilter import Tables
from rig.air.protocol import MOST_EFFECTS, Disturb
from rig.air.rules import Plan, To, ways
from rig.air.traffic import Shaper
from rig.air.undo import undo
from rig.errors import FaultError


@dataclass(slots=True)
class Effect:
    """One lasting fault."""

    number: int
    changes: dict[int, Change] = field(default_factory=dict)
    """By number in the journal."""
    closers: list[Callable[[], None]] = field(default_factory=list)
    """What else ends with it: sockets, timers. Called before the changes are undone."""
    counters: list[Callable[[], dict[str, int]]] = field(default_factory=list)
    """What counts beside the kernel."""
    askers: list[Callable[[], Awaitable[dict[str, int]]]] = field(default_factory=list)
    """What is asked for counts and takes its time."""
    timer: asyncio.TimerHandle | None = None


class Effects:
    """All that a helper has changed; everything goes through the journal first."""

    def __init__(self, run: str, journal: Journal, tables: Tables, shaper: Shaper) -> None:
        self.run = run
        self.up: dict[int, Effect] = {}
        self._journal, self._tables, self._shaper = journal, tables, shaper
        self._count = 0
        self._names = 0

    def new(self) -> Effect:
        """Room for one more. Raises `FaultError` when there are too many."""
        if len(self.up) >= MOST_EFFECTS:
            raise FaultError(
                f"{MOST_EFFECTS} faults are up already", hint="take some back (heal) first"
            )
        self._count += 1
        effect = self.up[self._count] = Effect(self._count)
        return effect

    async def make(self, effect: Effect, plan: Plan) -> None:
        """Make the tables of a plan."""
        for family, chains in plan:
            self._names += 1
            table = Table(family, f"srig_{self.run}_{self._names}")
            self.note(effect, table)
            await self._tables.add(family, table.name, chains)

    async def limit(self, effect: Effect, way: Way, qdisc: Qdisc, kbit: float) -> None:
        """Make a rate limit."""
        await self._shaper.check(qdisc)
        self.note(effect, qdisc)
        await self._shaper.limit(way, qdisc, kbit)

    async def down(self, effect: Effect, way: Way) -> None:
        """Take the link of one board down. Raises `FaultError` for one that others share."""
        async with self._shaper.turn:
            await links.check(self._shaper.ip, way)
            link = Link(way.interface, way.index)
            self.note(effect, link)
            await links.switch(self._shaper.ip, link, up=False)

    async def impair(self, effect: Effect, way: Way, command: Disturb) -> None:
        """Send a board's packets through netem. Raises `FaultError`, and leaves nothing then."""
        ip = self._shaper.ip
        devices: dict[To, int] = {}

        async def counts() -> dict[str, int]:
            async with self._shaper.turn:
                return await netem.counts(ip, way, devices, command)

        try:
            async with self._shaper.turn:
                await netem.check_free(ip, way)
                for to in ways(command.way):
                    self._names += 1
                    device = Device(f"srig{self.run[-6:]}{self._names % 10_000}")
                    self.note(effect, device)
                    devices[to] = await netem.make(ip, device, command)
                detour = netem.planned(way, self.run)
                self.note(effect, detour)
                await netem.send_round(ip, way, detour, command, devices)
        except (FaultError, NetlinkError) as error:
            await self._undo(effect)
            effect.changes.clear()
            words = error.message if isinstance(error, FaultError) else netem.words(error)
            raise FaultError(words) from error
        effect.askers.append(counts)

    def note(self, effect: Effect, change: Change) -> None:
        """Put into the journal what is about to be changed for `effect`."""
        effect.changes[self._journal.will(change)] = change

    async def counts(self, effect: Effect) -> dict[str, int]:
        """Everything that counts for an effect, by name."""
        found: dict[str, int] = {}
        for change in effect.changes.values():
            if isinstance(change, Table):
                found |= await self._tables.counts(change.family, change.name)
            elif isinstance(change, Qdisc):
                found |= await self._shaper.counts(change)
        for asker in effect.askers:
            found |= await asker()
        for counter in effect.counters:
            found |= counter()
        return found

    async def end(self, effect: Effect) -> dict[str, int]:
        """Take an effect back; its last counts. Raises `FaultError` when something stayed.

        One that is being taken back already is left to whoever began.
        """
        if self.up.pop(effect.number, None) is None:
            return {}
        if effect.timer is not None:
            effect.timer.cancel()
        counts: dict[str, int] = {}
        try:
            counts = await self.counts(effect)
        finally:
            await self._undo(effect)
        return counts

    async def _undo(self, effect: Effect) -> None:
        failed: list[FaultError] = []
        for close in effect.closers:
            close()
        for number, change in sorted(effect.changes.items(), reverse=True):
            try:
                await undo(change, self._tables, self._shaper)
            except FaultError as error:
                failed.append(error)  # it stays in the journal, for the next start
            else:
                self._journal.undone(number)
        if failed:
            raise failed[0]

    async def end_all(self) -> None:
        """Take everything back, whatever fails on the way. Raises the first failure."""
        failed: list[FaultError] = []
        for effect in list(self.up.values()):
            try:
                await self.end(effect)
            except FaultError as error:
                failed.append(error)
        if failed:
            raise failed[0]
