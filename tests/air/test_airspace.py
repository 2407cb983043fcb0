"""The air around one board: what its end takes back, whatever fails on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rig.air.airspace import Airspace
from rig.air.client import Radio
from rig.air.protocol import Drop
from rig.boards.ap_power import Supply
from rig.boards.power import Power
from rig.errors import BoardError
from rig.history import HistoryStore


@pytest.mark.root
def test_a_supply_that_does_not_come_on_keeps_no_other_fault_up(lab: Any, tmp_path: Path) -> None:
    before = lab.traces()

    async def play() -> None:
        supply = Supply(Power(on="false", off="true"), tmp_path, ".off")
        history = HistoryStore(tmp_path / "history.jsonl")
        place = lab.device, lab.port
        air = Airspace("kitchen", lambda: place, history, tmp_path, Radio(supply=supply))
        await air.begin("silence-both-ways", Drop(board="kitchen", seconds=30))
        await air.power_off("ap-power-off")
        assert lab.traces() != before
        with pytest.raises(BoardError, match="ended with 1: false"):
            await air.aclose()
        assert lab.traces() == before

    asyncio.run(play())
