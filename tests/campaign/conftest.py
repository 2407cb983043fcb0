"""Histories on disk, told scenario by scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rig.history import HistoryStore
from rig.history import events as ev

MS = 1_000_000


class Told:
    """Writes a history to `out`: each event 1 ms after the one before."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.store = HistoryStore(out / "history.jsonl")
        self.now = 0
        self.fault_id = 0

    def add(self, event: type[ev.Event], /, **fields: Any) -> int:
        self.now += MS
        return self.store.append(event(t=self.now, **fields))

    def run(self, seed: int = 7, **plan: object) -> Told:
        self.add(
            ev.RunStarted,
            wall="2026-01-01T00:00:00+00:00",
            rig_version="0",
            seed=seed,
            plan=plan,
        )
        self.add(ev.BoardDescribed, board="b", board_kind="plain")
        self.add(ev.AppStarted, board="b", line=1, project="speaker", version="v1")
        return self

    def scenario(self, name: str, *checks: str, needs_fault: bool = True, **params: object) -> Told:
        self.add(
            ev.ScenarioStarted,
            scenario=name,
            checks=checks,
            required=checks,
            needs_fault=needs_fault,
            params=params,
        )
        return self

    def cycle(
        self,
        number: int,
        *,
        seen: bool = True,
        crash: bool = False,
        cut_short: str | None = None,
    ) -> Told:
        self.add(ev.CycleStarted, scenario="s", cycle=number)
        self.fault_id += 1
        self.add(ev.FaultAsked, id=self.fault_id, fault="rst")
        if seen:
            self.add(ev.FaultSeen, id=self.fault_id, fault="rst", how="TcpReset")
        if crash:
            self.add(ev.CrashBegan, board="b", crash=1, kind="panic", line=3, text="Guru")
        self.add(ev.CycleEnded, scenario="s", cycle=number, cut_short=cut_short)
        return self

    def done(self, name: str, outcome: str = "done", reason: str | None = None) -> Told:
        self.add(ev.ScenarioEnded, scenario=name, outcome=outcome, reason=reason)
        return self

    def end(self, outcome: str = "done") -> Path:
        self.add(ev.RunEnded, outcome=outcome)
        self.store.close()
        return self.out


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)
