"""Segments in another's name, right to the sequence number: built by scapy, sent marked.

To the device they go out by the interface, so this host's own TCP knows nothing of them. To this
host they come in by loopback, so the device knows nothing of them.
"""

from __future__ import annotations

import asyncio
import random
import socket
from dataclasses import dataclass

from rig.air.arp import next_hop, send_frame
from rig.air.bounds import Way
from rig.air.capture import Ear
from rig.air.netfilter import FORGED_MARK
from rig.air.protocol import Flow, Forgery, Side
from rig.air.segment import ACK, FIN, PSH, RST, SYN, Half, Segment, after
from rig.errors import FaultError

ASK_S = 1.0
GAP_S = 0.004
QUIET_WITHIN_S = 1.0
_ASKS = 2
_REDONE = 20
"""How often a segment is made anew because others have crossed meanwhile."""
_MASK = (1 << 32) - 1
_FAR = 1 << 20
"""Bytes beyond the window: no device offers so much."""

End = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """A segment to be sent in the name of `source`."""

    source: End
    destination: End
    flags: int
    seq: int
    ack: int
    window: int
    payload: bytes = b""


def ends(way: Way, flow: Flow, to: Side) -> tuple[End, End]:
    """Who seems to send, and who receives."""
    server, device = (way.own, flow.server_port), (way.address, flow.device_port)
    return (server, device) if to == "device" else (device, server)


def plan(what: Forgery, source: End, destination: End, sent: Half, rng: random.Random) -> Plan:
    """The segment that `destination` takes for `source`'s next one, given what it sent."""
    seq, ack, window = sent.next, sent.acked, sent.window
    match what:
        case "rst":
            return Plan(source, destination, RST | ACK, seq, ack, 0)
        case "fin":
            return Plan(source, destination, FIN | ACK, seq, ack, window)
        case "duplicate":
            data = sent.last_data or b"\0"
            return Plan(
                source, destination, PSH | ACK, (seq - len(data)) & _MASK, ack, window, data
            )
        case "out-of-window":
            far = (seq + _FAR) & _MASK
            return Plan(source, destination, PSH | ACK, far, ack, window, b"beyond the window")
        case "syn":
            return Plan(source, destination, SYN, rng.getrandbits(32), 0, 5840)


async def forge(ear: Ear, flow: Flow, what: Forgery, to: Side) -> Plan:
    """Send one forged segment. Raises `FaultError` when the connection's numbers are not known."""
    import scapy.layers.inet  # noqa: F401 (now: it takes a while, and numbers grow old)

    source, destination = ends(ear.way, flow, to)
    await _quiet(ear, source, destination)
    await _known(ear, flow, to)
    rng = random.Random()
    for _ in range(_REDONE):
        made = _planned(ear, what, source, destination, rng)
        data = packet(made)
        ear.catch_up()
        newest = _planned(ear, what, source, destination, rng)
        if what == "syn" or (newest.seq, newest.ack) == (made.seq, made.ack):
            break
    ear.forged.append((made.source, made.seq, made.flags))
    put(ear.way, made, data, to)
    return made


def _planned(ear: Ear, what: Forgery, source: End, destination: End, rng: random.Random) -> Plan:
    sent = _from_both(ear, source, destination)
    if sent is None:
        raise _silent(source, destination)
    return plan(what, source, destination, sent, rng)


async def ask(ear: Ear, flow: Flow) -> Segment | None:
    """What the device answers to a segment that it cannot take; None: nothing.

    On a connection that it knows, with the right numbers (RFC 9293, 3.10.7.4); on one that it does
    not, with a RST (3.10.7.1). That one must be kept from this host, whose side it would end too.
    """
    server, device = ends(ear.way, flow, "device")
    question = Plan(server, device, ACK, random.getrandbits(32), random.getrandbits(32), 1024)
    _send(ear, question, "device")
    return await ear.hear(lambda each: (each.source, each.destination) == (device, server), ASK_S)


async def _quiet(ear: Ear, source: End, destination: End) -> None:
    """Wait for a gap in the traffic: a number is right only until the next segment (RFC 5961)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + QUIET_WITHIN_S
    both = {source, destination}
    while loop.time() < deadline:
        if await ear.hear(lambda each: {each.source, each.destination} == both, GAP_S) is None:
            return


async def _known(ear: Ear, flow: Flow, to: Side) -> None:
    """Know what either side has sent so far: from the capture, else by asking the device.

    Raises `FaultError` when it does not answer.
    """
    source, destination = ends(ear.way, flow, to)
    for _ in range(_ASKS):
        if _from_both(ear, source, destination) is not None:
            return
        await ask(ear, flow)
    if _from_both(ear, source, destination) is None:
        raise _silent(source, destination)


def _silent(source: End, destination: End) -> FaultError:
    return FaultError(
        f"the connection {source[0]}:{source[1]} to {destination[0]}:{destination[1]} is silent: "
        "its sequence numbers are not known",
        hint="is it open? `ss -tn` lists this host's connections",
    )


def _from_both(ear: Ear, source: End, destination: End) -> Half | None:
    """The numbers for `source`'s next segment, by its own segments or by what answers them."""
    own, other = ear.flows.half(source, destination), ear.flows.half(destination, source)
    if own is None and other is None:
        return None
    if other is None:
        return own
    if own is None:
        return Half(next=other.acked, acked=other.next, window=5840)
    # The receiver may have it all and not have said so yet (delayed ACK): what was sent counts.
    # Where some of it got lost, the number is too high, and the receiver says so (RFC 5961).
    following = own.next if after(own.next, other.acked) else other.acked
    return Half(following, other.next, own.window, own.last_data)


def _send(ear: Ear, made: Plan, to: Side) -> None:
    ear.forged.append((made.source, made.seq, made.flags))
    send(ear.way, made, to)


def packet(made: Plan) -> bytes:
    """The IP packet, with its checksums."""
    from scapy.layers.inet import IP, TCP

    head = IP(src=made.source[0], dst=made.destination[0]) / TCP(
        sport=made.source[1],
        dport=made.destination[1],
        flags=made.flags,
        seq=made.seq,
        ack=made.ack,
        window=made.window,
        options=[("MSS", 1460)] if made.flags == SYN else [],
    )
    return bytes(head / made.payload if made.payload else head)


def send(way: Way, made: Plan, to: Side) -> None:
    """Build it and put it on its way. Raises `FaultError`."""
    put(way, made, packet(made), to)


def put(way: Way, made: Plan, data: bytes, to: Side) -> None:
    """Put an IP packet on its way to one side. Raises `FaultError`."""
    if to == "device" and not way.loopback:
        known = next_hop(way)
        macs = bytes.fromhex((known.device_mac + known.own_mac).replace(":", ""))
        send_frame(way.interface, macs + b"\x08\x00" + data)
        return
    # A frame put on loopback by hand has no route with it, and Linux drops it as a martian.
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, FORGED_MARK)
            raw.sendto(data, (made.destination[0], 0))
    except OSError as error:
        raise FaultError(f"this host lets nothing be forged to itself: {error.strerror}") from error
