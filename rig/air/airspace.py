"""The air around one board in a run: opened when first needed, all it sees in the history."""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from rig.air.client import Air, Radio
from rig.air.protocol import AnyCommand, Ask, Capture, Done, Flow, Forge, Over, Seen
from rig.errors import FaultError
from rig.history import Entry, HistoryStore, Watch, now_ns
from rig.history.events import AirFault, ConnectionOpened, LogLine, Packet

CAPTURE = "air"
"""The captures beside a history: `air.pcap`, `air-2.pcap`, ..."""
_LONGEST_S = 3600.0
_MOST_FLOWS = 4096
_GLANCE_S = 0.25
"""How long counters are left alone when no packet is seen."""

Place = tuple[str, int]
"""Host and port."""
Proven = Callable[[dict[str, int]], str | None]
"""Says in words what counters prove; None: nothing yet."""


class Airspace:
    """An async context manager; entering it costs nothing, `open` starts the helper.

    `place` gives the board's host and port when asked. Leaving takes every fault back.
    """

    def __init__(
        self,
        board: str,
        place: Callable[[], Place | None],
        history: HistoryStore,
        folder: Path,
        radio: Radio | None = None,
    ) -> None:
        self.board = board
        self._place = place
        self._radio = radio
        self._history = history
        self._folder = folder
        self._air: Air | None = None
        self._names: dict[int, str] = {}
        """Faults that are up, by the helper's number."""
        self._flows: OrderedDict[int, Flow] = OrderedDict()
        self._powered_off: str | None = None
        """The fault that switched the access point's supply off."""
        self._captures = 0
        self._capture = 0
        self._again: asyncio.Task[None] | None = None
        history.listen(self._heard)

    async def open(self) -> Air:
        """The air, with its capture on. Raises `FaultError`: no rights, no way to the board."""
        if self._air is None:
            place = self._place()
            if place is None:
                raise FaultError(
                    f"{self.board} has no address (yet)", hint="is it on, and on the network?"
                )
            address = await resolved(self.board, place[0])
            air = Air(
                {self.board: address},
                ports={self.board: place[1]},
                folder=self._folder,
                radio=self._radio,
            )
            air.on_seen = self._seen
            air.on_over = self._over
            await air.__aenter__()
            self._air = air
            await self._start_capture()
        return self._air

    @property
    def has_access_point(self) -> bool:
        """Whether the bench names the access point that the board is on."""
        return self._radio is not None and bool(self._radio.hostapd or self._radio.hotspot)

    def flow(self, conn: int) -> Flow:
        """The ports of the rig's connection `conn`. Raises `FaultError` for one not known."""
        flow = self._flows.get(conn)
        if flow is None:
            raise FaultError(f"connection {conn} is not one to {self.board}")
        return flow

    async def begin(self, name: str, command: AnyCommand) -> int:
        """Begin a fault that lasts; its number is for `proof` and `heal`. Raises `FaultError`."""
        done = await (await self.open()).ask(command)
        if done.effect is None:
            raise FaultError(f"{name} does not last")
        self._names[done.effect] = name
        self._say(name, "up", {}, done.note)
        return done.effect

    async def ask(self, command: Forge | Ask) -> Done:
        """Send one forged segment, or a question: what came of it. Raises `FaultError`."""
        return await (await self.open()).ask(command)

    async def proof(
        self, effect: int, proven: Proven, within: float, lines: Watch | None = None
    ) -> tuple[str, int] | None:
        """Wait, at most `within` s, until counters prove a fault: in words, and the event's number.

        They are read again whenever a packet is seen. `lines`: of the device's log, each of which
        proves it too.
        """
        air = await self.open()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        with self._history.watch(lambda event: isinstance(event, Packet), bound=1) as packets:
            while True:
                line = await lines.next(LogLine, timeout=0) if lines is not None else None
                if line is not None:
                    return f"the device says: {line[1].text}", line[0]
                counts = await air.counts(effect)
                words = proven(counts)
                if words is not None:
                    return words, self._say(self._names[effect], "proven", counts)
                left = deadline - loop.time()
                if left <= 0:
                    return None
                await packets.next(Packet, timeout=min(left, _GLANCE_S))

    async def power_off(self, name: str) -> None:
        """Switch the access point's supply off, until `heal`. Raises `FaultError`, `BoardError`."""
        if self._radio is None or self._radio.supply is None:
            raise FaultError(
                f"{name}: the bench does not say how the access point's power is switched",
                hint="[network.power] with on and off, or uhubctl (docs/bench.md)",
            )
        self._powered_off = name
        await self._radio.supply.off()
        self._say(name, "up", {})

    async def power_on(self) -> None:
        """Switch the access point's supply on again, if it was switched off here.

        Raises `BoardError`: it stayed off, which the next `rig` command finds noted.
        """
        name, self._powered_off = self._powered_off, None
        if name is not None and self._radio is not None and self._radio.supply is not None:
            await self._radio.supply.on()
            self._say(name, "over", {})

    async def heal(self, effect: int | None = None) -> None:
        """Take a fault back, or all. Raises `FaultError`, `BoardError` when something stayed."""
        if effect is None:
            await self.power_on()
        if self._air is None:
            return
        for number in [effect] if effect is not None else list(self._names):
            name = self._names.pop(number, None)
            if name is not None:
                self._say(name, "over", await self._air.heal(number))

    # -- what is seen -------------------------------------------------------------------------

    def _heard(self, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, ConnectionOpened) and event.board == self.board:
            ports = (int(end.rpartition(":")[2]) for end in (event.local, event.peer))
            self._flows[event.conn] = Flow(*ports)
            if len(self._flows) > _MOST_FLOWS:
                self._flows.popitem(last=False)

    def _seen(self, seen: Seen) -> None:
        self._history.append(
            Packet(
                t=seen.t,
                board=self.board,
                source=seen.source,
                destination=seen.destination,
                flags=seen.flags,
                seq=seen.seq,
                ack=seen.ack,
                length=seen.length,
                window=seen.window,
                retransmission=seen.retransmission,
                forged=seen.forged,
            )
        )

    def _over(self, over: Over) -> None:
        if over.effect == self._capture:
            self._again = asyncio.ensure_future(self._start_capture())
            return
        name = self._names.pop(over.effect, None)
        if name is not None:
            self._say(name, "over", over.counts, over.why)

    def _say(
        self,
        name: str,
        state: Literal["up", "proven", "over"],
        counts: dict[str, int],
        why: str = "",
    ) -> int:
        return self._history.append(
            AirFault(t=now_ns(), board=self.board, fault=name, state=state, counts=counts, why=why)
        )

    async def _start_capture(self) -> None:
        """A capture ends after an hour by construction: a longer run has several files."""
        assert self._air is not None
        self._captures += 1
        number = f"-{self._captures}" if self._captures > 1 else ""
        command = Capture(board=self.board, file=f"{CAPTURE}{number}.pcap", seconds=_LONGEST_S)
        self._capture = (await self._air.ask(command)).effect or 0

    # -- the end ------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Take everything back and end the helper; idempotent. Raises `BoardError`: no power."""
        try:
            await self.power_on()
        finally:
            await self._close_air()

    async def _close_air(self) -> None:
        air, self._air = self._air, None
        if self._again is not None:
            self._again.cancel()
        if air is not None:
            await air.aclose()
            for name in self._names.values():
                self._say(name, "over", {}, "the run ended")
            self._names.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.aclose()
        self._history.unlisten(self._heard)


async def resolved(board: str, host: str) -> str:
    """The board's IPv4 address. Raises `FaultError`: it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, None, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
    except OSError as error:
        raise FaultError(
            f"{board} has no IPv4 address: {host}: {error.strerror}",
            hint="packet faults are made on IPv4; give the address in the bench file",
        ) from error
    return str(found[0][4][0])
