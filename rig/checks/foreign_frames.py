"""No frame on a connection belongs to another one: what is inside it says whose it is."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import Any

from rig.checks.connections import follow, words
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, failed, inconclusive, passed
from rig.history.events import ConnectionOpened, EarlyBytes, Entry, Frame
from rig.protocol.payload import payload_of

EPOCH_SPAN_US = 3_600_000_000
"""A server's clock stays within an hour of its connection's epoch (the rig spaces epochs wider)."""

_DEPTH = 8
_REMEMBERED = 4096


def _values(message: Any, depth: int = 0) -> Iterator[str | int]:
    if depth > _DEPTH:
        return
    if isinstance(message, dict):
        for key, value in message.items():
            if key != "client_transmitted":  # the device's own clock is nobody else's
                yield from _values(value, depth + 1)
    elif isinstance(message, list):
        for value in message:
            yield from _values(value, depth + 1)
    elif isinstance(message, str) or (isinstance(message, int) and not isinstance(message, bool)):
        yield message


class _Owners:
    """Whose an id or a clock value is; bounded, newest connections kept."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._epochs: list[tuple[int, int]] = []

    def add(self, event: ConnectionOpened) -> None:
        self._ids[event.server_id] = event.conn
        if len(self._ids) > _REMEMBERED:
            del self._ids[next(iter(self._ids))]
        if event.epoch_us:
            insort(self._epochs, (event.epoch_us, event.conn))
            if len(self._epochs) > _REMEMBERED:
                del self._epochs[0]

    def know(self, conn: int, server_id: object) -> None:
        """In noise a server's id is its key, told in its server/init."""
        if isinstance(server_id, str):
            self._ids[server_id] = conn

    def of(self, value: str | int) -> int | None:
        if isinstance(value, str):
            return self._ids.get(value)
        place = bisect_right(self._epochs, (value, 1 << 62)) - 1
        if place < 0 or value - self._epochs[place][0] >= EPOCH_SPAN_US:
            return None
        return self._epochs[place][1]


def _foreign(owners: _Owners, conn: int, message: dict[str, Any]) -> tuple[str | int, int] | None:
    """The first value inside `message` that is another connection's, and whose."""
    values = list(_values(message))
    if any(owners.of(value) == conn for value in values):
        return None  # it names its own connection: a server may tell of others beside
    for value in values:
        owner = owners.of(value)
        if owner is not None and owner != conn:
            return value, owner
    return None


@check(
    "no_foreign_frame",
    title="no frame belongs to another connection",
    source="invariant 9: sendspin-cpp #57, #60. Each rig connection has its own server id, clock "
    "epoch and ping payloads",
)
def no_foreign_frame(history: Judged) -> Outcome:
    """No device frame carries the id, the clock or the ping of another connection.

    A pong must repeat a ping of its own connection.
    """
    owners = _Owners()
    pings: dict[int, set[str]] = {}
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0

    def found(entry: Entry, conn: int, what: str) -> None:
        broken.append((f"connection {conn}: {words(entry)} {what}", (entry.n,)))

    for entry, _ in follow(history):
        match entry.event:
            case ConnectionOpened() as event:
                owners.add(event)
            case Frame(sender="server", type="server/init", conn=conn) as frame:
                owners.know(conn, payload_of(frame).get("server_id"))
            case Frame(sender="server", opcode="ping", conn=conn, head=head):
                sent = pings.setdefault(conn, set())
                if len(sent) < 256:
                    sent.add(head or "")
            case Frame(sender="device", opcode="pong", conn=conn, head=head):
                judged += 1
                for other, sent in pings.items():
                    if other != conn and (head or "") in sent - pings.get(conn, set()) and head:
                        found(entry, conn, f"answers a ping of connection {other}")
                        break
            case (Frame(sender="device") | EarlyBytes()) as frame if frame.message is not None:
                judged += 1
                alien = _foreign(owners, frame.conn, frame.message)
                if alien is not None:
                    found(
                        entry,
                        frame.conn,
                        f"carries {alien[0]!r}, which is of connection {alien[1]}",
                    )
    if broken:
        message, evidence = broken[0]
        return failed(message, *evidence, findings=len(broken))
    if not judged:
        return inconclusive("the device sent no frame that could be looked into")
    return passed(f"{judged} frames, none of another connection's")


@check(
    "silent_before_server_hello",
    title="between its hello and the server's the device says nothing but goodbye",
    source="invariant 2: Sendspin spec, server/hello; sendspin-cpp gate (#60)",
)
def silent_before_server_hello(history: Judged) -> Outcome:
    """After client/hello only a goodbye may come until the server's hello was sent (legacy)."""
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged: set[int] = set()
    for entry, talk in follow(history):
        frame = entry.event
        if (
            talk is None
            or not isinstance(frame, Frame)
            or frame.sender != "device"
            or frame.opcode not in ("text", "binary", "continuation")
            or talk.opening is None
            or talk.generation == "noise"  # noise_opening_order's
            or talk.server_hello is not None
        ):
            continue
        judged.add(frame.conn)
        if entry is talk.opening or frame.type == "client/goodbye":
            continue
        if frame.type in ("client/hello", "client/init"):
            continue  # a second opening is invariant 3's business
        broken.append(
            (
                f"connection {frame.conn}: {words(entry)} before the server's hello",
                (talk.opening.n, entry.n),
            )
        )
    if broken:
        message, evidence = broken[0]
        return failed(message, *evidence, findings=len(broken))
    if not judged:
        return inconclusive("no connection was greeted before the server's hello")
    return passed(f"{len(judged)} connections, silent until the server's hello")
