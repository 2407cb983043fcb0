"""A small language for histories: `wire.opened(1)`, `wire.device(1, "client/hello")`."""

from __future__ import annotations

from typing import Any

import pytest

from rig.checks.stretch import Recorded
from rig.history import events as ev
from rig.history.crash import CrashRecord

MS = 1_000_000
EPOCH_US = 3_600_000_000


class Wire:
    """Builds a history event by event; every event is 1 ms after the one before."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self.now = 0

    def add(self, event: type[ev.Event], /, **fields: Any) -> Wire:
        self.now += MS
        self.events.append(event(t=self.now, **fields))
        return self

    def wait(self, seconds: float) -> Wire:
        self.now += int(seconds * 1e9)
        return self

    def history(self, *, has_console: bool = True) -> Recorded:
        return Recorded(self.events, has_console=has_console)

    # -- the link

    def opened(self, conn: int) -> Wire:
        return self.add(
            ev.ConnectionOpened,
            conn=conn,
            board="b",
            server_id=f"server-{conn}",
            epoch_us=(1000 + conn) * EPOCH_US,
            local="127.0.0.1:1",
            peer="127.0.0.2:8928",
        )

    def upgraded(self, conn: int) -> Wire:
        return self.add(ev.UpgradeAsked, conn=conn).add(ev.UpgradeAnswered, conn=conn, status=101)

    def frame(self, conn: int, sender: str, kind: str, payload: dict[str, Any]) -> Wire:
        return self.add(
            ev.Frame,
            conn=conn,
            sender=sender,
            opcode="text",
            size=100,
            type=kind,
            message={"type": kind, "payload": payload},
        )

    def device(self, conn: int, kind: str, **payload: Any) -> Wire:
        return self.frame(conn, "device", kind, payload)

    def server(self, conn: int, kind: str, **payload: Any) -> Wire:
        return self.frame(conn, "server", kind, payload)

    def early(self, conn: int, kind: str, **payload: Any) -> Wire:
        return self.add(
            ev.EarlyBytes,
            conn=conn,
            size=60,
            head="81",
            opcode="text",
            type=kind,
            message={"type": kind, "payload": payload},
        )

    def hello(self, conn: int, client_id: str = "aa:bb") -> Wire:
        return self.device(conn, "client/hello", client_id=client_id)

    def greeted(self, conn: int) -> Wire:
        """Opened, upgraded, both hellos."""
        return self.opened(conn).upgraded(conn).hello(conn).server(conn, "server/hello")

    def held(self, conn: int, within_s: float = 2.0) -> Wire:
        return self.add(ev.Held, conn=conn, within_s=within_s)

    def fin(self, conn: int, sender: str) -> Wire:
        return self.add(ev.TcpFin, conn=conn, sender=sender)

    def closed(self, conn: int) -> Wire:
        return self.add(ev.ConnectionClosed, conn=conn)

    def refused(self) -> Wire:
        return self.add(ev.ConnectFailed, board="b", server_id="s", error="ECONNREFUSED")

    # -- the board

    def boot(self, code: int = 0xC, name: str = "RTC_SW_CPU_RST") -> Wire:
        return self.add(ev.Boot, board="b", line=1, reset_code=code, reset_name=name)

    def app(self) -> Wire:
        return self.add(ev.AppStarted, board="b", line=2)

    def reset_asked(self) -> Wire:
        return self.add(ev.ResetAsked, board="b", how="reset")

    def crash_began(self, number: int = 1) -> Wire:
        return self.add(
            ev.CrashBegan, board="b", crash=number, kind="panic", line=9, text="Guru Meditation"
        )

    def crash(self, number: int = 1, reason: str = "Load access fault") -> Wire:
        record = CrashRecord(kind="panic", line=9, reason=reason)
        return self.add(ev.Crash, board="b", crash=number, record=record)

    def socket(self, op: str, fd: int) -> Wire:
        return self.add(ev.SocketSeen, board="b", op=op, line=3, fd=fd)

    def log(self, component: str, message: str) -> Wire:
        return self.add(
            ev.LogLine,
            board="b",
            text=message,
            line=4,
            offset=0,
            level="I",
            component=component,
            message=message,
        )

    def fault_seen(self) -> Wire:
        return self.add(ev.FaultSeen, id=1, fault="rst", how="TcpReset")

    def settled(self) -> Wire:
        return self.add(ev.Settled, board="b", after_s=1.0)


@pytest.fixture
def wire() -> Wire:
    return Wire()
