"""Forged segments: right to the sequence number, believed by one side only."""

from __future__ import annotations

from collections.abc import Callable

from rig.air.airspace import Airspace
from rig.air.protocol import Ask, Forge, Forgery, Side
from rig.errors import FaultError
from rig.faults.air_fault import NEEDS
from rig.faults.registry import Param, Proof, Target, fault
from rig.history.events import Event, Packet, TcpFin, TcpReset

WITHIN = Param("within", "s", 3.0, 0.1, 60.0, "how long its proof is waited for")
TO = Param("to", "0 the device, 1 the server", 0, 0, 1, "who is to believe it")
TRIES = 5
ANSWER_S = 0.5
"""How long a device may take to acknowledge."""
_SIDES: tuple[Side, ...] = ("device", "server")


async def _to_device(target: Target, what: Forgery, within: float) -> Proof | None:
    """Proven by the very segment in the capture, and by what shows that the device took it.

    A segment that crossed the forged one makes its number a wrong one: then once more.
    """
    air = _air(target)
    flow = air.flow(target.aim.conn)
    command = Forge(board=target.board.name, flow=flow, what=what)
    await air.open()
    for _ in range(TRIES):
        with target.history.watch(lambda event: isinstance(event, Packet)) as watch:
            seq = (await air.ask(command)).counts["seq"]
            seen = await watch.next(Packet, timeout=within, where=_forged_with(seq))
            if seen is None:
                return None
            n, forged = seen
            words = f"{forged.flags} with sequence number {seq} in the capture"
            if what == "rst":
                asked = Ask(board=target.board.name, flow=flow)
                if (await air.ask(asked)).counts["reset"]:
                    return Proof(f"{words}; asked, the device knows no such connection", (n,))
            elif what == "fin":
                taken = _acknowledges(forged, (seq + 1) % 2**32)
                answer = await watch.next(Packet, timeout=ANSWER_S, where=taken)
                if answer is not None:
                    return Proof(f"{words}, and the device's acknowledgement", (n, answer[0]))
            else:
                return Proof(words, (n,))
    return None


def _forged_with(seq: int) -> Callable[[Packet], bool]:
    return lambda packet: packet.forged and packet.seq == seq


def _acknowledges(forged: Packet, number: int) -> Callable[[Packet], bool]:
    return lambda packet: (
        packet.source == forged.destination
        and packet.destination == forged.source
        and packet.ack == number
    )


async def _to_server(target: Target, what: Forgery, within: float) -> Proof | None:
    """It comes in by loopback; proven by what this host's own socket told the link."""
    air = _air(target)
    conn = target.aim.conn
    command = Forge(board=target.board.name, flow=air.flow(conn), what=what, to="server")
    kind: type[Event] = TcpReset if what == "rst" else TcpFin

    def ended(event: Event) -> bool:
        return isinstance(event, TcpReset | TcpFin) and event.conn == conn

    await air.open()
    with target.history.watch(ended) as watch:
        for _ in range(TRIES):
            await air.ask(command)
            seen = await watch.next(
                kind,
                timeout=within / TRIES,
                where=lambda event: getattr(event, "sender", "") == "device",
            )
            if seen is not None:
                return Proof("the server's socket took it for the device's", (seen[0],))
    return None


def _air(target: Target) -> Airspace:
    if target.air is None:
        raise FaultError("there is no air around this board")
    return target.air


async def _ended(target: Target, what: Forgery, params: dict[str, float]) -> Proof | None:
    if _SIDES[int(params["to"])] == "server":
        return await _to_server(target, what, params["within"])
    return await _to_device(target, what, params["within"])


@fault(
    "rst-forged",
    title="a RST that the other side never sent, in the middle of a healthy connection",
    seen="the capture has it, and the device answers the next segment with a RST of its own: it "
    "knows no such connection; to the server: its socket was reset",
    params=(TO, WITHIN),
    needs=NEEDS,
)
async def rst_forged(target: Target, **params: float) -> Proof | None:
    """One side believes that it is over; the other one knows nothing."""
    return await _ended(target, "rst", params)


@fault(
    "fin-forged",
    title="a FIN that the other side never sent",
    seen="the capture has it, and the device's acknowledgement of it; to the server: its socket "
    "came to the end",
    params=(TO, WITHIN),
    needs=NEEDS,
)
async def fin_forged(target: Target, **params: float) -> Proof | None:
    """One side believes that the other one ended its half."""
    return await _ended(target, "fin", params)


@fault(
    "segment-duplicate",
    title="the server's last data once more, after it was acknowledged",
    seen="the capture has it",
    params=(WITHIN,),
    needs=NEEDS,
)
async def segment_duplicate(target: Target, **params: float) -> Proof | None:
    """A sound TCP throws it away and acknowledges."""
    return await _to_device(target, "duplicate", params["within"])


@fault(
    "segment-out-of-window",
    title="data far beyond the device's window",
    seen="the capture has it",
    params=(WITHIN,),
    needs=NEEDS,
)
async def segment_out_of_window(target: Target, **params: float) -> Proof | None:
    """A sound TCP throws it away and says what it waits for (RFC 793, 3.9)."""
    return await _to_device(target, "out-of-window", params["within"])


@fault(
    "syn-forged",
    title="a SYN on the four-tuple of a living connection",
    seen="the capture has it",
    params=(WITHIN,),
    needs=NEEDS,
)
async def syn_forged(target: Target, **params: float) -> Proof | None:
    """The device's stack meets its own old connection (RFC 5961, 4.2: it only challenges)."""
    return await _to_device(target, "syn", params["within"])
