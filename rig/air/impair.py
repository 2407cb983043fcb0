"""Who delays, loses, swaps, doubles and damages packets: netem, else the rig's own queue."""

from __future__ import annotations

from rig.air import disturb, rules
from rig.air.bounds import Way
from rig.air.effects import Effect, Effects
from rig.air.protocol import Disturb
from rig.errors import FaultError


def against_netem(way: Way, command: Disturb) -> str | None:
    """Why netem is not asked at all; None: it is."""
    if command.corrupt:
        return "it counts nothing that it damages, and damages addresses too"
    if way.loopback:
        return "the board shares this host's loopback interface"
    return None


async def impair(way: Way, command: Disturb, effects: Effects, effect: Effect) -> str:
    """Make the fault; by what, in words. Raises `FaultError` when neither is to be had."""
    why = against_netem(way, command)
    if why is None:
        try:
            await effects.impair(effect, way, command)
        except FaultError as error:
            why = error.message
        else:
            return "by netem"
    await _by_queue(way, command, effects, effect)
    return f"by a packet queue in user space; not by netem: {why}"


async def _by_queue(way: Way, command: Disturb, effects: Effects, effect: Effect) -> None:
    queue = disturb.Disturber(command)
    effect.closers.append(queue.close)
    effect.counters.append(lambda: dict(queue.counts))
    for native in (True, False):
        plan = rules.queue(way, command.way, command.flow, queue.queue, native=native)
        try:
            await effects.make(effect, plan)
        except FaultError:
            if not native:
                raise
            continue
        break
