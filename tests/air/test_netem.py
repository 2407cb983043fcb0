"""netem as tc tells it, and the detour to it on a real link.

The project's own kernel has no sch_netem: what is sent to it is held against tc's own message, and
the detour (ifb, clsact, u32, mirred, all real) is tried with a fifo in netem's place.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyroute2.iproute import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from rig.air import impair, journal, netem
from rig.air.bounds import Bounds, Way
from rig.air.effects import Effects
from rig.air.journal import Detour, Device, Journal
from rig.air.netfilter import Tables
from rig.air.protocol import BoardAddress, Disturb, Flow
from rig.air.traffic import Shaper
from rig.air.undo import heal
from rig.errors import FaultError

ALL = Disturb(
    board="kitchen", seconds=9, delay_ms=40, jitter_ms=30, loss=0.1, reorder=0.2, duplicate=0.05
)
TC = "limit 1000 delay 40ms 30ms loss 10% duplicate 5% reorder 20%"
RECORDED = bytes.fromhex(
    "0000000000000000 00000052 ffffffff 00000000"  # tcmsg: handle 5200:, parent root
    "0a000100 6e6574656d000000"  # TCA_KIND netem
    "28000200 68890900 e8030000 9a999919 01000000 cdcccc0c 0e270700"  # TCA_OPTIONS: tc_netem_qopt
    "0c000300 33333333 00000000"  # TCA_NETEM_REORDER
)
"""What tc 6.1 (iproute2) sent for `tc qdisc add dev ifb0 root handle 5200: netem` with `TC`, as
strace showed it, without the header, whose sequence number differs; the interface's index is 0."""


def without_index(message: bytes) -> bytes:
    """The body of a netlink message about a queueing discipline, its interface's index zeroed."""
    return message[16:20] + bytes(4) + message[24:]


async def sent_by_us(command: Disturb) -> list[bytes]:
    """The netlink messages that make netem's device, whatever the kernel says to them."""
    sent: list[bytes] = []

    class Recorder(AsyncIPRoute):
        async def tc(self, *args: Any, **kwargs: Any) -> Any:
            real = self.send

            def send(data: bytes, *more: Any) -> Any:
                sent.append(bytes(data))
                return real(data, *more)

            self.send = send
            try:
                return await super().tc(*args, **kwargs)
            finally:
                self.send = real

    ip = Recorder()
    try:
        await netem.make(ip, Device("srigabcd1"), command)
    except NetlinkError:
        pass  # this kernel has no netem
    finally:
        await netem.remove(ip, Device("srigabcd1"))
        ip.close()
    return sent


def sent_by_tc(words: str) -> bytes:
    """What the real tc sends, whether this kernel takes it or not; as strace dumps it."""
    for tool in ("strace", "tc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    line = f"tc qdisc add dev {TC_DEVICE} root handle 5200: netem {words}"
    done = subprocess.run(
        ["strace", "-e", "trace=sendmsg", "-e", "write=all", *line.split()],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    dump = re.findall(r"^ \| [0-9a-f]{5}  ((?:[0-9a-f]{2} ?| )+)  ", done.stderr, re.MULTILINE)
    return bytes.fromhex("".join(dump))


TC_DEVICE = "srigtc0"


@pytest.mark.root
def test_netem_is_told_what_tc_tells_it_to_the_byte(lab: Any) -> None:
    (ours,) = asyncio.run(sent_by_us(ALL))
    assert without_index(ours) == RECORDED
    assert ours[4:8] == bytes.fromhex("24000506")  # RTM_NEWQDISC: request, ack, create, exclusive


@pytest.mark.root
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (ALL, TC),
        (Disturb(board="k", seconds=9, delay_ms=200), "limit 1000 delay 200ms"),
        (Disturb(board="k", seconds=9, loss=0.0123), "limit 1000 loss 1.23%"),
        (Disturb(board="k", seconds=9, duplicate=1), "limit 1000 duplicate 100%"),
        (
            Disturb(board="k", seconds=9, delay_ms=1.5, reorder=0.33),
            "limit 1000 delay 1.5ms reorder 33%",
        ),
    ],
)
def test_netem_is_told_what_the_tc_of_this_machine_tells_it(
    lab: Any, command: Disturb, words: str
) -> None:
    lab.sh(f"ip link add {TC_DEVICE} type ifb")
    theirs = sent_by_tc(words)
    (ours,) = asyncio.run(sent_by_us(command))
    assert without_index(ours) == without_index(theirs)


def way_of(lab: Any) -> Way:
    return Bounds([BoardAddress("kitchen", lab.device)]).way("kitchen")


class Workshop:
    """The helper's own parts, in this process."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder, "abcdef")
        self.tables, self.shaper = Tables(), Shaper()
        self.effects = Effects("abcdef", self.journal, self.tables, self.shaper)

    async def __aenter__(self) -> Effects:
        await self.tables.__aenter__()
        return self.effects

    async def __aexit__(self, *exc: object) -> None:
        self.shaper.close()
        await self.tables.__aexit__()
        self.journal.__exit__()


@pytest.fixture
def fifo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock of netem where the kernel has none: a fifo, with the same handle, on the same ifb."""

    async def make(ip: Any, device: Device, _command: Disturb) -> int:
        await ip.link("add", ifname=device.name, kind="ifb")
        index = int((await ip.link_lookup(ifname=device.name))[0])
        await ip.tc("add", "pfifo", index, netem.ROOT, limit=netem.LIMIT)
        netem._mute(device)
        await ip.link("set", index=index, state="up")
        return index

    monkeypatch.setattr(netem, "make", make)


async def conversation(lab: Any) -> tuple[socket.socket, socket.socket]:
    """Five words each way on a new connection."""
    loop = asyncio.get_running_loop()
    server, device = await lab.connected()
    for _ in range(5):
        for one, other in ((server, device), (device, server)):
            one.send(b"word")
            assert await loop.sock_recv(other, 9) == b"word"
    return server, device


@pytest.mark.root
def test_the_boards_packets_go_round_by_the_queue_both_ways_and_nothing_stays(
    lab: Any, tcpdump: Any, tmp_path: Path, fifo: None
) -> None:
    before = lab.traces()

    async def play() -> tuple[str, dict[str, int]]:
        async with Workshop(tmp_path) as effects:
            effect = effects.new()
            note = await impair.impair(way_of(lab), ALL, effects, effect)
            tcpdump.start()
            for sock in await conversation(lab):
                sock.close()
            counts = await effects.counts(effect)
            await effects.end(effect)
            for sock in await conversation(lab):
                sock.close()
            return note, counts

    note, counts = asyncio.run(play())
    assert note == "by netem"
    assert min(counts["to_device"], counts["to_server"]) >= 7
    assert counts["doubled"] == counts["lost"] == counts["overtaking"] == 0
    words = [line for line in tcpdump.packets() if line.endswith("length 4")]
    assert len(words) == 20  # none is seen twice, nor is any lost
    assert lab.traces() == before
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.root
@pytest.mark.root
@pytest.mark.parametrize("towards", ["to_device", "to_server"])
def test_one_way_alone_is_sent_round_and_taken_back(
    lab: Any, tmp_path: Path, fifo: None, towards: Any
) -> None:
    before = lab.traces()
    command = Disturb(board="kitchen", seconds=9, delay_ms=5, way=towards)

    async def play() -> dict[str, int]:
        async with Workshop(tmp_path) as effects:
            effect = effects.new()
            await impair.impair(way_of(lab), command, effects, effect)
            for sock in await conversation(lab):
                sock.close()
            return await effects.end(effect)

    counts = asyncio.run(play())
    assert counts[towards] >= 7
    assert {"to_device", "to_server"} & set(counts) == {towards}
    assert lab.traces() == before


def test_another_connection_of_the_board_goes_its_usual_way(
    lab: Any, tmp_path: Path, fifo: None
) -> None:
    async def play() -> dict[str, int]:
        server, device = await conversation(lab)
        flow = Flow(server.getsockname()[1], lab.port)
        command = Disturb(board="kitchen", seconds=9, delay_ms=5, flow=flow)
        async with Workshop(tmp_path) as effects:
            effect = effects.new()
            await impair.impair(way_of(lab), command, effects, effect)
            for sock in await conversation(lab):
                sock.close()
            others = await effects.counts(effect)
            server.send(b"word")
            assert await asyncio.get_running_loop().sock_recv(device, 9) == b"word"
            ours = await effects.counts(effect)
            await effects.end(effect)
        server.close()
        device.close()
        late = 1  # an acknowledgement of the old connection's last word
        assert others["to_device"] <= late
        assert others["to_server"] <= late
        return {"more": ours["to_device"] - others["to_device"]}

    assert asyncio.run(play())["more"] == 1


@pytest.mark.root
def test_hooks_that_somebody_else_uses_are_left_alone_and_the_rigs_own_queue_is_taken(
    lab: Any, tmp_path: Path, fifo: None
) -> None:
    lab.sh(f"tc qdisc add dev {lab.interface} clsact")
    before = lab.traces()

    async def play() -> str:
        async with Workshop(tmp_path) as effects:
            effect = effects.new()
            note = await impair.impair(way_of(lab), ALL, effects, effect)
            await effects.end(effect)
            return note

    assert "has a clsact or ingress qdisc already" in asyncio.run(play())
    assert lab.traces() == before


@pytest.mark.root
def test_what_a_killed_helper_sent_round_goes_its_usual_way_after_the_next_start(
    lab: Any, tmp_path: Path, fifo: None
) -> None:
    before = lab.traces()

    async def play() -> list[str]:
        workshop = Workshop(tmp_path)
        async with workshop as effects:
            await impair.impair(way_of(lab), ALL, effects, effects.new())
        assert lab.traces() != before
        lab.sh(f"tc qdisc add dev {lab.interface} root handle 77: pfifo")
        return [what for healed in await heal(tmp_path) for what in healed.undone]

    assert len(asyncio.run(play())) == 3
    lab.sh(f"tc qdisc del dev {lab.interface} root")
    assert lab.traces() == before


@pytest.mark.root
def test_a_journal_takes_away_no_filter_and_no_device_of_somebody_elses(
    lab: Any, tmp_path: Path
) -> None:
    lab.sh("ip link add srigveth0 type veth peer name srigveth1")
    lab.sh(f"tc qdisc add dev {lab.interface} clsact")
    lab.sh(
        f"tc filter add dev {lab.interface} egress prio 7 protocol ip u32 match ip dst 10.0.0.9/32 "
        "action mirred egress redirect dev srigveth0"
    )
    before = lab.traces() + lab.sh(f"tc filter show dev {lab.interface} egress")
    with Journal(tmp_path, "abcd") as live:
        live.will(Device("srigveth0"))
        live.will(Detour(lab.interface, way_of(lab).index, 0x5200))
    assert [each.undone for each in asyncio.run(heal(tmp_path))] == [()]
    assert lab.traces() + lab.sh(f"tc filter show dev {lab.interface} egress") == before


@pytest.mark.parametrize("name", ["eth0", "srig", "srig0123456789ab", "srig/../eth0", "srigA"])
def test_a_journal_names_only_devices_of_the_rigs(tmp_path: Path, name: str) -> None:
    with Journal(tmp_path, "abcd") as live:
        live.will(Device(name))
        path = live.path
        assert journal.read(path)[1] == []


@pytest.mark.root
def test_a_kernel_without_netem_is_said_so_and_leaves_no_device(lab: Any, tmp_path: Path) -> None:
    before = lab.traces()

    async def play() -> None:
        async with Workshop(tmp_path) as effects:
            if has_netem(lab):
                await effects.impair(effects.new(), way_of(lab), ALL)
                assert "netem" in lab.sh("tc qdisc show")
            else:
                with pytest.raises(FaultError, match="this kernel lacks it"):
                    await effects.impair(effects.new(), way_of(lab), ALL)
                assert lab.traces() == before
            await effects.end_all()

    asyncio.run(play())
    assert lab.traces() == before


@pytest.mark.parametrize(
    ("way", "command", "why"),
    [
        (Way("k", "10.0.0.2", "10.0.0.1", "eth0", 2), Disturb(board="k", seconds=1), None),
        (
            Way("k", "10.0.0.2", "10.0.0.1", "eth0", 2),
            Disturb(board="k", seconds=1, corrupt=0.1),
            "counts nothing",
        ),
        (
            Way("k", "127.0.0.1", "127.0.0.1", "lo", 1, port=8928),
            Disturb(board="k", seconds=1),
            "loopback",
        ),
    ],
)
def test_netem_is_not_asked_for_what_it_cannot_prove(
    way: Way, command: Disturb, why: str | None
) -> None:
    found = impair.against_netem(way, command)
    assert (found is None) == (why is None)
    assert why is None or why in str(found)


def has_netem(lab: Any) -> bool:
    """Whether the kernel has it, as tc finds."""
    try:
        lab.sh("tc qdisc add dev lo root netem delay 1ms")
    except subprocess.CalledProcessError:
        return False
    lab.sh("tc qdisc del dev lo root")
    return True


class Told:
    """A mock of what a kernel with netem says: real messages, made by hand."""

    def __init__(self, *, out: int, waiting: int, lost: int, overtook: int, taken: int) -> None:
        self._queue = _message(
            {"index": 9, "handle": netem.ROOT},
            [
                ("TCA_KIND", "netem"),
                (
                    "TCA_STATS2",
                    {
                        "attrs": [
                            ("TCA_STATS_BASIC", {"bytes": 1, "packets": out}),
                            (
                                "TCA_STATS_QUEUE",
                                {
                                    "qlen": waiting,
                                    "backlog": 1,
                                    "drops": lost,
                                    "requeues": overtook,
                                    "overlimits": 0,
                                },
                            ),
                        ]
                    },
                ),
            ],
        )
        self.taken = taken

    async def get_qdiscs(self, index: int) -> Any:
        async def each() -> Any:
            yield self._queue

        return each()


def _message(fields: dict[str, int], attributes: list[Any]) -> Any:
    made = tcmsg()
    for name, value in fields.items():
        made[name] = value
    made["attrs"] = attributes
    made.encode()
    read = tcmsg(made.data)
    read.decode()
    return read


@pytest.mark.parametrize(
    ("command", "told", "counts"),
    [
        (
            Disturb(board="k", seconds=1, delay_ms=50, reorder=0.2),
            Told(out=10, waiting=3, lost=0, overtook=2, taken=13),
            {"to_device": 10, "lost": 0, "overtaking": 2, "delayed": 11},
        ),
        (
            Disturb(board="k", seconds=1, duplicate=0.5, loss=0.1),
            Told(out=14, waiting=0, lost=2, overtook=0, taken=11),
            {"to_device": 14, "lost": 2, "overtaking": 0, "doubled": 5},
        ),
        (
            Disturb(board="k", seconds=1, delay_ms=10, jitter_ms=10),
            Told(out=14, waiting=0, lost=0, overtook=0, taken=14),
            {"to_device": 14, "lost": 0, "overtaking": 0, "delayed": 0},
        ),
    ],
)
def test_what_netem_counted_is_told_by_the_names_of_the_rigs_own_queue(
    monkeypatch: pytest.MonkeyPatch, command: Disturb, told: Told, counts: dict[str, int]
) -> None:
    async def taken(*_: object) -> int:
        return told.taken

    monkeypatch.setattr(netem, "_redirected", taken)
    way = Way("k", "10.0.0.2", "10.0.0.1", "eth0", 2)
    assert asyncio.run(netem.counts(told, way, {"to_device": 9}, command)) == counts


def test_the_whole_of_netlink_is_not_loaded_for_it() -> None:
    code = "import sys, rig.air.netem; print('pyroute2.ndb.main' in sys.modules)"
    lean = "from rig.air.lean import without_the_whole_of; without_the_whole_of('pyroute2'); "
    done = subprocess.run([sys.executable, "-c", lean + code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
