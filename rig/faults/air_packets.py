"""Faults on packets: lost, refused, late, swapped, doubled, damaged, too long, too many."""

from __future__ import annotations

from rig.air.protocol import (
    ArpHole,
    Disturb,
    Drop,
    Flow,
    KillSocket,
    LinkDown,
    Rate,
    Refusal,
    Refuse,
    Shrink,
    SynFlood,
    Way,
)
from rig.errors import FaultError
from rig.faults.air_fault import DIRECTION, WAYS, AirFault, MakeCommand, Values, counted, declare
from rig.faults.registry import Param

_KERNEL = "the kernel counted packets that it"
_ANSWERS: tuple[Refusal, ...] = ("tcp-reset", "icmp-host", "icmp-port", "icmp-admin")


def _share(title: str, default: float = 20) -> Param:
    return Param("share", "%", default, 0.01, 100, title)


def _way(values: Values) -> Way:
    return WAYS[int(values["direction"])]


def _silence(way: Way) -> MakeCommand:
    def command(board: str, flow: Flow | None, values: Values) -> Drop:
        return Drop(board=board, way=way, flow=flow, seconds=values["for"])

    return command


for _name, _towards, _words in (
    ("silence-to-device", "to_device", "to the device: it hears nothing, and is heard"),
    ("silence-to-server", "to_server", "to the server: the device hears, and is not heard"),
    ("silence-both-ways", "both", "both ways, and neither side is told"),
):
    declare(
        AirFault(
            _name,
            f"lose every packet {_words}",
            f"{_KERNEL} lost; the capture shows the retransmissions",
            _silence(_towards),  # type: ignore[arg-type]  # mypy widens the literals of a tuple
            counted("to_device", "to_server", words="packets lost"),
        )
    )

declare(
    AirFault(
        "loss",
        "lose a share of the packets",
        f"{_KERNEL} lost",
        lambda board, flow, v: Drop(
            board=board, flow=flow, way=_way(v), share=v["share"] / 100, seconds=v["for"]
        ),
        counted("to_device", "to_server", words="packets lost"),
        (_share("how many"), DIRECTION),
    )
)
declare(
    AirFault(
        "refused",
        "answer packets with a RST or an ICMP unreachable instead of delivering them",
        f"{_KERNEL} refused",
        lambda board, flow, v: Refuse(
            board=board,
            flow=flow,
            way=_way(v),
            answer=_ANSWERS[int(v["answer"])],
            seconds=v["for"],
        ),
        counted("to_device", "to_server", words="packets refused"),
        (
            Param("answer", "0 RST, 1 host, 2 port, 3 admin unreachable", 0, 0, 3, "with what"),
            DIRECTION,
        ),
    )
)
declare(
    AirFault(
        "mtu",
        "lose every packet longer than the path is said to carry, and tell nobody",
        f"{_KERNEL} lost",
        lambda board, flow, v: Shrink(
            board=board, flow=flow, way=_way(v), size=int(v["bytes"]), seconds=v["for"]
        ),
        counted("to_device", "to_server", words="packets were too long"),
        (Param("bytes", "bytes", 128, 68, 1500, "the longest IP packet that passes"), DIRECTION),
    )
)
declare(
    AirFault(
        "rate",
        "let only so much through to the device",
        "the kernel's token bucket counted packets that had to wait, or were dropped",
        lambda board, _flow, v: Rate(board=board, kbit=v["kbit"], seconds=v["for"]),
        counted("overlimits", "dropped", words="packets were held back"),
        (Param("kbit", "kbit/s", 64, 1, 100_000, "how much"),),
    )
)
declare(
    AirFault(
        "packet-delay",
        "deliver packets late",
        "the packet queue counted those that it held back",
        lambda board, flow, v: Disturb(
            board=board,
            flow=flow,
            way=_way(v),
            delay_ms=v["ms"],
            jitter_ms=v["jitter"],
            seconds=v["for"],
        ),
        counted("delayed", words="packets late"),
        (
            Param("ms", "ms", 200, 1, 10_000, "how late, each way"),
            Param("jitter", "ms", 0, 0, 10_000, "more or less, at random"),
            DIRECTION,
        ),
    )
)
declare(
    AirFault(
        "packet-reorder",
        "let packets overtake those that are late",
        "the packet queue counted those that overtook",
        lambda board, flow, v: Disturb(
            board=board,
            flow=flow,
            way=_way(v),
            delay_ms=v["ms"],
            reorder=v["share"] / 100,
            seconds=v["for"],
        ),
        counted("overtaking", words="packets overtook others"),
        (_share("how many"), Param("ms", "ms", 50, 1, 10_000, "how late the others"), DIRECTION),
    )
)
declare(
    AirFault(
        "packet-duplicate",
        "deliver packets twice",
        "the packet queue counted those that it doubled",
        lambda board, flow, v: Disturb(
            board=board, flow=flow, way=_way(v), duplicate=v["share"] / 100, seconds=v["for"]
        ),
        counted("doubled", words="packets doubled"),
        (_share("how many"), DIRECTION),
    )
)
declare(
    AirFault(
        "packet-damage",
        "flip a bit in packets; their checksums are left wrong",
        "the packet queue counted those that it damaged",
        lambda board, flow, v: Disturb(
            board=board, flow=flow, way=_way(v), corrupt=v["share"] / 100, seconds=v["for"]
        ),
        counted("damaged", words="packets damaged"),
        (_share("how many", 5), DIRECTION),
    )
)


def _kill(board: str, flow: Flow | None, values: Values) -> KillSocket:
    if flow is None:
        raise FaultError("socket-killed is aimed at one connection, and none was given")
    return KillSocket(board=board, flow=flow, seconds=values["for"])


declare(
    AirFault(
        "socket-killed",
        "destroy the server's socket without a word to the device: half open",
        "the kernel destroyed it, and counted the RST that it kept back",
        _kill,
        counted("to_device", words="answers to the device kept back"),
    )
)
declare(
    AirFault(
        "arp-hole",
        "tell the device that the server is at a link address that nobody has",
        "the capture shows the device's frames to that address",
        lambda board, _flow, v: ArpHole(board=board, seconds=v["for"]),
        counted("to_server", words="frames of the device went to nobody"),
    )
)
declare(
    AirFault(
        "link-down",
        "take the board's link down: off the network, as out of the access point's reach",
        "the kernel says that the link is down",
        lambda board, _flow, v: LinkDown(board=board, seconds=v["for"]),
        lambda counts: "the link is down" if counts.get("carrier") == 0 else None,
    )
)
declare(
    AirFault(
        "syn-flood",
        "open connections half, and answer nothing",
        "the capture shows the device's SYN-ACKs",
        lambda board, _flow, v: SynFlood(
            board=board,
            port=int(v["port"]),
            count=int(v["count"]),
            per_second=v["rate"],
            seconds=v["for"],
        ),
        counted("answered", words="half-open connections accepted"),
        (
            Param("count", "SYNs", 16, 1, 64, "how many"),
            Param("rate", "SYNs/s", 20, 1, 50, "how fast"),
            Param("port", "TCP port", 8928, 1, 65535, "to which port"),
        ),
    )
)
