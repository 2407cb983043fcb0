"""What a living helper carries out: every command of the list, one after the other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rig.air import access_point, arp, forge, rules
from rig.air.bounds import Bounds, Way
from rig.air.capture import Ear, Ears, PcapFile
from rig.air.effects import Effect, Effects
from rig.air.impair import impair
from rig.air.outlet import Outlet
from rig.air.protocol import (
    AnyAnswer,
    ArpHole,
    Ask,
    Begin,
    Capture,
    ChangeChannel,
    Command,
    Count,
    Deauth,
    Disturb,
    Done,
    Drop,
    Flow,
    Forge,
    Heal,
    KillSocket,
    LinkDown,
    Over,
    RadioOff,
    Rate,
    Refuse,
    Refused,
    Seen,
    SendAway,
    Shrink,
    Status,
    SynFlood,
    TxPower,
)
from rig.air.segment import ACK, RST, SYN, Segment
from rig.air.sockets import destroy
from rig.air.traffic import carrier, planned
from rig.errors import FaultError, RigError

MOST_FORGERIES = 10_000
"""Segments that one helper forges in its life."""
FLOOD_PORTS = 61_100
"""The first of this host's ports that a flood comes from; above what Linux gives to connections."""
ARP_EVERY_S = 1.0
"""A device asks again from time to time, and would hear the truth."""

DEAUTH_EVERY_S = 0.1

Carry = Callable[[Any, Effect], Awaitable[str]]


class Session:
    """Carries out commands, one after the other."""

    def __init__(self, begin: Begin, effects: Effects, outlet: Outlet) -> None:
        """Raises `FaultError` for a board at an address that is never touched."""
        self.begin = begin
        self.bounds = Bounds(begin.boards)
        self.effects = effects
        self.outlet = outlet
        self.ears = Ears()
        self._forgeries = 0
        self._rng = random.Random()
        self._ending: set[asyncio.Task[None]] = set()
        self._lasting: dict[type[Command], Carry] = {
            Drop: self._drop,
            Refuse: self._refuse,
            Shrink: self._shrink,
            Rate: self._rate,
            KillSocket: self._kill_socket,
            Disturb: self._disturb,
            Capture: self._capture,
            ArpHole: self._arp_hole,
            SynFlood: self._syn_flood,
            LinkDown: self._link_down,
            RadioOff: self._radio_off,
            ChangeChannel: self._change_channel,
            SendAway: self._send_away,
            Deauth: self._deauth,
            TxPower: self._tx_power,
        }

    async def carry_out(self, number: int, command: Command) -> AnyAnswer:
        """Do one command. Never raises for what the command asks."""
        try:
            return await self._carry_out(number, command)
        except RigError as error:
            return Refused(id=number, error=error.message, hint=error.hint)
        except OSError as error:
            return Refused(id=number, error=f"the system refused: {error.strerror or error}")

    async def _carry_out(self, number: int, command: Command) -> AnyAnswer:
        match command:
            case Count():
                return Done(id=number, counts=await self.effects.counts(self._up(command.effect)))
            case Heal(effect=None):
                await self._end_all()
                return Done(id=number)
            case Heal(effect=int(which)):
                return Done(id=number, counts=await self.effects.end(self._up(which)))
            case Status():
                return Done(id=number, counts={"effects": len(self.effects.up)})
            case Begin():
                raise FaultError("the boards are fixed: only the first command may name them")
            case Forge():
                return await self._forge(number, command)
            case Ask():
                return await self._ask(number, command)
        carry = self._lasting.get(type(command))
        if carry is None:
            raise FaultError(f"{type(command).__name__} is not available here")
        return await self._last(number, command, carry)

    async def _last(self, number: int, command: Any, carry: Carry) -> AnyAnswer:
        """A fault that lasts `command.seconds`, then ends by itself."""
        effect = self.effects.new()
        try:
            note = await carry(command, effect)
        except BaseException:
            await self.effects.end(effect)
            raise
        loop = asyncio.get_running_loop()
        effect.timer = loop.call_later(command.seconds, self._time_is_up, effect)
        return Done(id=number, effect=effect.number, note=note)

    def _way(self, command: Any) -> Way:
        """The way to the board of a command whose connection, if it names one, is the board's."""
        way = self.bounds.way(command.board)
        if (flow := getattr(command, "flow", None)) is not None:
            way.flow(flow)
        return way

    def _up(self, number: int) -> Effect:
        effect = self.effects.up.get(number)
        if effect is None:
            raise FaultError(f"there is no fault {number}", hint="it may have ended by itself")
        return effect

    def _time_is_up(self, effect: Effect) -> None:
        self.stop(effect, "its time is up")

    def stop(self, effect: Effect, why: str) -> None:
        """End an effect from a callback, and say so."""
        if effect.number in self.effects.up:
            task = asyncio.ensure_future(self._stop(effect, why))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _stop(self, effect: Effect, why: str) -> None:
        counts: dict[str, int] = {}
        if effect.number not in self.effects.up:
            return  # it was healed meanwhile
        try:
            counts = await self.effects.end(effect)
        except RigError as error:
            why = f"{why}; {error.message}"
        self.outlet.say(Over(effect=effect.number, why=why, counts=counts))

    async def close(self) -> None:
        """Take everything back. Raises `FaultError` when something stayed."""
        try:
            await self._end_all()
        finally:
            self.ears.close()

    async def _end_all(self) -> None:
        try:
            await self.effects.end_all()
        finally:
            while self._ending:  # what its time is up for meanwhile
                await asyncio.gather(*self._ending)

    # -- the faults that last ------------------------------------------------------------------

    async def _drop(self, command: Drop, effect: Effect) -> str:
        await self.effects.make(effect, rules.drop(self._way(command), command))
        return ""

    async def _refuse(self, command: Refuse, effect: Effect) -> str:
        await self.effects.make(effect, rules.refuse(self._way(command), command))
        return ""

    async def _shrink(self, command: Shrink, effect: Effect) -> str:
        await self.effects.make(effect, rules.shrink(self._way(command), command))
        return ""

    async def _rate(self, command: Rate, effect: Effect) -> str:
        way = self._way(command)
        await self.effects.limit(effect, way, planned(way, self.begin.run), command.kbit)
        return ""

    async def _kill_socket(self, command: KillSocket, effect: Effect) -> str:
        way = self._way(command)
        plan = rules.silence_flow(way, command.flow, "to_device")
        await self.effects.make(effect, plan)  # first: the kernel's RST must not get out
        await destroy(way, command.flow)
        return ""

    async def _disturb(self, command: Disturb, effect: Effect) -> str:
        return await impair(self._way(command), command, self.effects, effect)

    async def _capture(self, command: Capture, effect: Effect) -> str:
        ear = self.ears.on(self._way(command))
        if command.file is not None:
            if self.begin.folder is None:
                raise FaultError("no folder for captures was named at the start")
            file = PcapFile(Path(self.begin.folder) / command.file, command.packets)
            ear.files.append(file)
            effect.closers.append(lambda: _forget(ear, file))
        left = command.packets

        def seen(now: int, segment: Segment, again: bool, forged: bool) -> None:
            nonlocal left
            left -= 1
            if left >= 0:
                self.outlet.say(_told(effect.number, now, segment, again, forged))

        ear.listeners.append(seen)
        effect.closers.append(lambda: ear.listeners.remove(seen))
        effect.counters.append(lambda: dict(ear.counts) | {"unread": self.outlet.lost})
        return command.file or ""

    async def _arp_hole(self, command: ArpHole, effect: Effect) -> str:
        way = self._way(command)
        victim = arp.victim(way)
        ear = self.ears.on(way)
        self.effects.note(effect, victim)
        nowhere = ear.counts["nowhere"]
        effect.counters.append(lambda: {"to_server": ear.counts["nowhere"] - nowhere})
        self._again_and_again(effect, ARP_EVERY_S, None, lambda: arp.mislead(victim))
        return f"{victim.device} was told that {victim.own} is at nobody's link address"

    async def _link_down(self, command: LinkDown, effect: Effect) -> str:
        way = self._way(command)
        await self.effects.down(effect, way)
        effect.counters.append(lambda: {"carrier": int(carrier(way.interface))})
        return way.interface

    async def _radio_off(self, _command: RadioOff, effect: Effect) -> str:
        return await access_point.off(self.begin, self.effects, effect)

    async def _change_channel(self, command: ChangeChannel, effect: Effect) -> str:
        return await access_point.change_channel(self.begin, command, self.effects, effect)

    async def _send_away(self, command: SendAway, effect: Effect) -> str:
        return await access_point.send_away(self.begin, command, self._way(command), effect)

    async def _tx_power(self, command: TxPower, effect: Effect) -> str:
        return await access_point.quieter(self.begin, command, self.effects, effect)

    async def _deauth(self, command: Deauth, effect: Effect) -> str:
        way = self._way(command)
        interface, frame = await access_point.forged_away(self.begin, command, way, effect)
        sent = 0

        def one() -> None:
            nonlocal sent
            arp.send_frame(interface, frame)
            sent += 1

        effect.counters.append(lambda: {"sent": sent})
        self._again_and_again(effect, DEAUTH_EVERY_S, command.count, one)
        return interface

    async def _syn_flood(self, command: SynFlood, effect: Effect) -> str:
        way = self._way(command)
        way.flow(Flow(FLOOD_PORTS, command.port))
        ear = self.ears.on(way)
        first, last = FLOOD_PORTS, FLOOD_PORTS + command.count - 1
        await self.effects.make(effect, rules.ignore_answers(way, first, last))
        ports = iter(range(first, last + 1))
        sent = 0

        def one() -> None:
            nonlocal sent
            ends = (way.own, next(ports)), (way.address, command.port)
            forge.send(way, forge.Plan(*ends, SYN, self._rng.getrandbits(32), 0, 5840), "device")
            sent += 1

        answered: set[int] = set()

        def heard(_now: int, segment: Segment, _again: bool, _forged: bool) -> None:
            if segment.flags & (SYN | ACK) == SYN | ACK and first <= segment.destination[1] <= last:
                answered.add(segment.destination[1])

        ear.listeners.append(heard)
        effect.closers.append(lambda: ear.listeners.remove(heard))
        effect.counters.append(lambda: {"sent": sent, "answered": len(answered)})
        self._again_and_again(effect, 1 / command.per_second, command.count, one)
        return ""

    def _again_and_again(
        self, effect: Effect, every: float, times: int | None, do: Callable[[], None]
    ) -> None:
        """Do it now, and again `every` s, until the effect ends or it was done `times`."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        done = 0

        def turn() -> None:
            nonlocal timer, done
            try:
                do()
            except FaultError as error:
                self.stop(effect, error.message)
                return
            done += 1
            if times is None or done < times:
                timer = loop.call_later(every, turn)

        turn()
        effect.closers.append(lambda: timer.cancel() if timer is not None else None)

    # -- what is done once -----------------------------------------------------------------------

    async def _forge(self, number: int, command: Forge) -> Done:
        self._forged_one_more()
        ear = self.ears.on(self._way(command))
        made = await forge.forge(ear, command.flow, command.what, command.to)
        counts = {"seq": made.seq, "ack": made.ack, "length": len(made.payload)}
        return Done(id=number, counts=counts)

    async def _ask(self, number: int, command: Ask) -> Done:
        self._forged_one_more()
        way = self._way(command)
        ear = self.ears.on(way)
        effect = self.effects.new()
        try:
            await self.effects.make(effect, rules.keep_resets(way, command.flow))
            answer = await forge.ask(ear, command.flow)
        finally:
            await self.effects.end(effect)
        reset = answer is not None and bool(answer.flags & RST)
        return Done(id=number, counts={"answered": int(answer is not None), "reset": int(reset)})

    def _forged_one_more(self) -> None:
        if self._forgeries >= MOST_FORGERIES:
            raise FaultError(f"a run may forge {MOST_FORGERIES} segments, and has")
        self._forgeries += 1


def _forget(ear: Ear, file: PcapFile) -> None:
    ear.files.remove(file)
    file.close()


def _told(effect: int, now: int, segment: Segment, again: bool, forged: bool) -> Seen:
    return Seen(
        effect=effect,
        t=now,
        source=f"{segment.source[0]}:{segment.source[1]}",
        destination=f"{segment.destination[0]}:{segment.destination[1]}",
        flags=segment.letters,
        seq=segment.seq,
        ack=segment.ack,
        length=len(segment.payload),
        window=segment.window,
        retransmission=again,
        forged=forged,
    )
