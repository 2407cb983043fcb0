"""`conversation` on the virtual board: real talk, faults proven, nothing wrong found."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_flasher.loading import load_bundle
from rig.boards.virtual.board import VirtualBoard, VirtualSettings
from rig.campaign.judge import judge
from rig.campaign.session import Session
from rig.checks import Verdict
from rig.history import History
from rig.history import events as ev
from rig.scenarios import get_scenario
from rig.servers import ServerKind

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["reference", "scripted"])
async def test_a_good_device_goes_through_it(
    tmp_path: Path, anyio_backend: str, kind: ServerKind
) -> None:
    board = VirtualBoard("virtual", VirtualSettings(home=tmp_path / "home", namespace=False))
    out = tmp_path / "out"
    try:
        async with Session(board, out, seed=3, server=kind, seconds=4) as session:
            await session.prepare(load_bundle(FIRMWARE / "v0.7.0"))
            await session.play(get_scenario("conversation"), cycles=1)
            session.outcome = "done"
    finally:
        await board.unplug()
    (said,) = judge(out).scenarios
    assert said.verdict is Verdict.PASS, said
    assert said.audio is not None
    assert said.audio.chunks > 5
    assert said.audio.late is not None
    assert said.audio.device_buffer_ms is None
    sent = {e.event.type for e in History(out / "history.jsonl").only(ev.Frame)}
    assert {"stream/start", "server/state", "server/time", "client/state"} <= sent
    assert sum(fault.seen for fault in said.faults) >= 1
