"""Faults that last until they are healed: stall, silence, closed window, delay, trickle."""

from __future__ import annotations

from collections.abc import Callable

from rig.faults.registry import Param, Proof, Target, fault
from rig.history.events import LinkEffect
from rig.link import Direction

STALL_PROOF_S = 2.0

_WAYS: tuple[Direction, ...] = ("both", "to_device", "to_server")

_MEASURED_S = Param("within", "s", 2.0, 0.1, 60.0, "how long its proof is waited for")


async def _proven(
    target: Target, name: str, act: Callable[[], None], *, within: float, words: str
) -> Proof | None:
    """Do `act`, then wait for the link's measurement of the fault `name` on this connection."""
    conn = target.aim.conn
    with target.history.watch(
        lambda event: isinstance(event, LinkEffect) and event.conn == conn and event.fault == name
    ) as watch:
        act()
        if target.act is not None:
            await target.act()
        seen = await watch.next(LinkEffect, timeout=within)
    if seen is None:
        return None
    return Proof(f"{seen[1].value:g} {seen[1].unit} {words}", (seen[0],))


@fault(
    "stall",
    title="send the first byte of a frame and no more: the device's server task waits in it",
    seen="the device's TCP acknowledged that one byte, and none followed",
    at_link=True,
)
async def stall(target: Target) -> Proof | None:
    """One byte 0x81: ESP-IDF's HTTP server blocks in `recv` for up to 5 s."""
    return await _proven(
        target, "stall", target.aim.half_frame, within=STALL_PROOF_S, words="acknowledged"
    )


@fault(
    "silence",
    title="swallow what crosses, while each side's TCP says all is well",
    seen="the link counted bytes that it swallowed",
    params=(
        Param("direction", "0 both, 1 to the device, 2 to the server", 0, 0, 2, "which way"),
        _MEASURED_S,
    ),
    at_link=True,
)
async def silence(target: Target, **params: float) -> Proof | None:
    """Nobody hears anything, and nobody is told. Proven by the first byte that is swallowed."""
    way = _WAYS[int(params["direction"])]
    line = target.aim.line
    return await _proven(
        target,
        "silence",
        lambda: line.silence(way),
        within=params["within"],
        words="swallowed",
    )


@fault(
    "closed-window",
    title="stop reading, so that the device's sends come to a stop",
    seen="bytes of the device lie unread and the window offered to it is zero",
    params=(_MEASURED_S,),
    at_link=True,
)
async def closed_window(target: Target, **params: float) -> Proof | None:
    """The receive window closes; the device's send blocks, for up to 5 s in ESP-IDF's server."""
    return await _proven(
        target,
        "closed_window",
        target.aim.line.closed_window,
        within=params["within"],
        words="unread, window zero",
    )


@fault(
    "delay",
    title="pass bytes on late",
    seen="the link measured how long bytes waited",
    params=(Param("ms", "ms", 200, 1, 10_000, "how late"), _MEASURED_S),
    at_link=True,
)
async def delay(target: Target, **params: float) -> Proof | None:
    """Both ways, in order."""
    line = target.aim.line
    return await _proven(
        target,
        "delay",
        lambda: line.delay(params["ms"]),
        within=params["within"],
        words="late",
    )


@fault(
    "trickle",
    title="let only so many bytes a second through to the device",
    seen="the link measured the rate that bytes really had",
    params=(Param("rate", "bytes/s", 200, 1, 1_000_000, "how many"), _MEASURED_S),
    at_link=True,
)
async def trickle(target: Target, **params: float) -> Proof | None:
    """A frame comes in crumbs."""
    line = target.aim.line
    return await _proven(
        target,
        "trickle",
        lambda: line.trickle(params["rate"]),
        within=params["within"],
        words="let through",
    )
