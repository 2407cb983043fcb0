"""What crossed the wire in a run, as a sequence diagram: server left, device right."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from rig.console.printable import dotted
from rig.history import Entry, Event
from rig.history import events as ev

Arrow = Literal["right", "left", "mark"]

WIRE: tuple[type[Event], ...] = (
    ev.ConnectionOpened,
    ev.UpgradeAsked,
    ev.UpgradeAnswered,
    ev.Frame,
    ev.EarlyBytes,
    ev.WireError,
    ev.SealBroken,
    ev.TcpFin,
    ev.TcpReset,
    ev.ConnectionClosed,
    ev.LinkEffect,
    ev.ServerWarned,
    ev.FaultAsked,
    ev.FaultSeen,
    ev.Held,
    ev.AudioFared,
    ev.FormatChosen,
    ev.CrashBegan,
    ev.Boot,
    ev.ScenarioStarted,
    ev.CycleStarted,
)
"""What a diagram is made of."""
_MEDIA = re.compile(r"(binary(?:, sealed)?) \((\d+) B\)")
"""The words of a step that is media."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the diagram. `ms` since the first step shown."""

    n: int
    ms: float
    conn: int | None
    arrow: Arrow
    words: str
    loud: bool = False
    """Something that should not be, or that was done on purpose."""


class Diagram:
    """Draws a history step by step, or one connection with all that concerns every one of them."""

    def __init__(self, connection: int | None = None) -> None:
        """`connection`: only this one; None: all."""
        self._connection = connection
        self._start: int | None = None
        self._inbound: set[int] = set()

    def step(self, entry: Entry) -> Step | None:
        """What an entry is in it; None: nothing."""
        event = entry.event
        conn = getattr(event, "conn", None)
        if isinstance(event, ev.ConnectionOpened) and event.dialled_by == "device":
            self._inbound.add(event.conn)
        if self._connection is not None and conn not in (None, self._connection):
            return None
        told = _told(event)
        if told is None:
            return None
        self._start = event.t if self._start is None else self._start
        arrow, words, loud = told
        if conn in self._inbound and isinstance(event, ev.UpgradeAsked | ev.UpgradeAnswered):
            arrow = "left" if arrow == "right" else "right"
        return Step(entry.n, (event.t - self._start) / 1e6, conn, arrow, words, loud)


def steps(entries: Iterable[Entry], *, connection: int | None = None) -> Iterator[Step]:
    """The steps of a history, or of one connection."""
    diagram = Diagram(connection)
    for entry in opened(entries):
        if (step := diagram.step(entry)) is not None:
            yield step


def opened(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries without those binary frames whose inside the very next one tells."""
    held: Entry | None = None
    for entry in entries:
        inside = isinstance(entry.event, ev.Frame) and entry.event.sealed
        if held is not None and inside != held.n:
            yield held
        held = None
        if isinstance(entry.event, ev.Frame) and entry.event.opcode == "binary" and not inside:
            held = entry
        else:
            yield entry
    if held is not None:
        yield held


class Fold:
    """Makes one step of media that follow each other, the same way on one connection."""

    def __init__(self, *, longest_ms: float = math.inf) -> None:
        """`longest_ms`: from the first one of a step to its last."""
        self._longest_ms = longest_ms
        self._first: Step | None = None
        self._kind = ""
        self._count = self._size = 0

    def take(self, step: Step) -> list[Step]:
        """What can be told now that `step` has come."""
        media = _MEDIA.fullmatch(step.words)
        first = self._first
        if media is None:
            return [*self.rest(), step]
        if (
            first is not None
            and (step.conn, step.arrow) == (first.conn, first.arrow)
            and step.ms - first.ms <= self._longest_ms
        ):
            self._count, self._size = self._count + 1, self._size + int(media[2])
            return []
        done = self.rest()
        self._first, self._kind = step, media[1]
        self._count, self._size = 1, int(media[2])
        return done

    def rest(self) -> list[Step]:
        """What is held back: the media that came last."""
        first, self._first = self._first, None
        if first is None or self._count == 1:
            return [] if first is None else [first]
        return [replace(first, words=f"{self._kind}, {self._count} of them ({self._size} B)")]


def folded(shown: Iterable[Step]) -> Iterator[Step]:
    """The steps with each run of media as one (`Fold`)."""
    fold = Fold()
    for step in shown:
        yield from fold.take(step)
    yield from fold.rest()


def _told(event: Event) -> tuple[Arrow, str, bool] | None:
    match event:
        case ev.ConnectionOpened(server_id=server, peer=peer, dialled_by=who):
            way = "from" if who == "device" else "to"
            return "mark", f"opened {way} {peer} as {server}", False
        case ev.UpgradeAsked():
            return "right", "GET (upgrade)", False
        case ev.UpgradeAnswered(status=status):
            return "left", f"{status}", status != 101
        case ev.Frame(sender=sender) as frame:
            return _side(sender), _frame(frame), False
        case ev.EarlyBytes() as early:
            return "left", f"{early.type or early.head[:24]} BEFORE THE UPGRADE ANSWER", True
        case ev.SealBroken(frame=frame, text=text):
            return "mark", f"event {frame} is no seal of this connection: {text}", True
        case ev.WireError(sender=sender, text=text):
            return _side(sender), f"no WebSocket: {text}", True
        case ev.TcpFin(sender=sender):
            return _side(sender), "FIN", False
        case ev.TcpReset(sender=sender):
            return _side(sender), "RST", True
        case ev.ConnectionClosed(reason=reason):
            return "mark", f"closed{': ' + reason if reason else ''}", False
        case ev.LinkEffect(fault=fault, value=value, unit=unit):
            return "mark", f"{fault}: {value:g} {unit}", True
        case ev.ServerWarned(text=text):
            return "mark", f"the server warns: {text}", True
        case ev.FaultAsked(fault=fault):
            return "mark", f"fault {fault}", True
        case ev.FaultSeen(fault=fault, how=how):
            return "mark", f"fault {fault} seen: {how}", True
        case ev.AudioFared(chunks=chunks, late=late, lost=lost):
            told = ["unknown" if each is None else f"{each}" for each in (late, lost)]
            return "mark", f"audio: {chunks} chunks, late {told[0]}, lost {told[1]}", False
        case ev.FormatChosen(asked=asked, given=given, place=place):
            if place == 0:
                return "mark", f"audio is {given}, as asked", False
            return "mark", f"audio is {given}; asked: {'; '.join(asked)}", place is None
        case ev.Held(within_s=within):
            return "mark", f"only waited on from here, {within:g} s", False
        case _:
            return _board(event)


def _board(event: Event) -> tuple[Arrow, str, bool] | None:
    match event:
        case ev.CrashBegan(text=text):
            return "mark", f"the device crashed: {text}", True
        case ev.Boot(reset_code=code, reset_name=name):
            return "mark", f"the device booted, rst:{code:#x} ({name})", True
        case ev.ScenarioStarted(scenario=name):
            return "mark", f"scenario {name}", False
        case ev.CycleStarted(scenario=name, cycle=cycle):
            return "mark", f"{name}, cycle {cycle}", False
        case _:
            return None


def _side(sender: str) -> Arrow:
    return "right" if sender == "server" else "left"


def _frame(frame: ev.Frame) -> str:
    words = frame.type or frame.opcode
    if frame.sealed is not None:
        words = f"{words}, sealed"
    if frame.opcode == "close" and frame.close_code is not None:
        words += f" {frame.close_code} {frame.close_reason or ''}".rstrip()
    return f"{words} ({frame.size} B)"


def line(step: Step, *, width: int) -> str:
    """A step as one line of text, at most `width` columns."""
    inner = max(20, width - 26)
    words = dotted(step.words)
    words = words if len(words) <= inner - 4 else words[: inner - 5] + "…"
    conn = f"#{step.conn}" if step.conn is not None else ""
    head = f"{step.ms:>10.1f} ms {conn:>6} "
    match step.arrow:
        case "right":
            body = f"{words} ".ljust(inner - 2, "─") + "─▶"
        case "left":
            body = "◀─" + f" {words}".rjust(inner - 2, "─")
        case _:
            body = f"· {words}"
    return head + body


def as_fields(step: Step) -> dict[str, Any]:
    """A step as one JSON object."""
    side = {"right": "server", "left": "device", "mark": None}[step.arrow]
    return {
        "event": step.n,
        "ms": round(step.ms, 3),
        "connection": step.conn,
        "sender": side,
        "text": step.words,
        "notable": step.loud,
    }


_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#1a1a1a;background:#fff}
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}}
table{border-collapse:collapse}td{padding:.1rem .6rem;white-space:nowrap}
td.n{text-align:right;opacity:.6;font-variant-numeric:tabular-nums}
.left{text-align:left}.right{text-align:right}.mark{opacity:.75;font-style:italic}.loud{color:#c62828}
"""


def as_html(shown: Iterable[Step], title: str) -> Iterator[str]:
    """The diagram as a page of its own, piece by piece; what a board sent is escaped."""
    name = html.escape(title)
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
    yield f"<style>{_STYLE}</style><h1>{name}</h1><table><tr><td>event<td>ms<td>connection"
    yield '<td class="right">server ▸<td>◂ device</tr>\n'
    for step in shown:
        words = html.escape(step.words)
        kind = f"{step.arrow}{' loud' if step.loud else ''}"
        cells = {
            "right": f'<td class="{kind}">{words} ▸<td>',
            "left": f'<td><td class="{kind}">◂ {words}',
            "mark": f'<td colspan="2" class="{kind}">{words}',
        }[step.arrow]
        conn = "" if step.conn is None else step.conn
        heads = "".join(f'<td class="n">{each}' for each in (step.n, f"{step.ms:.1f}", conn))
        yield f"<tr>{heads}{cells}</tr>\n"
    yield "</table></html>\n"
