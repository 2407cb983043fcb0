"""`many-servers` on the virtual board: the hand-off table and the memory that a reset keeps."""

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
@pytest.mark.parametrize("kind", ["scripted", "reference"])
async def test_every_row_of_the_table_is_met_and_who_played_is_remembered_over_a_reset(
    tmp_path: Path, anyio_backend: str, kind: ServerKind
) -> None:
    board = VirtualBoard("virtual", VirtualSettings(home=tmp_path / "home", namespace=False))
    out = tmp_path / "out"
    try:
        async with Session(board, out, server=kind) as session:
            await session.prepare(load_bundle(FIRMWARE / "v0.7.0"))
            await session.play(get_scenario("many-servers"), cycles=1)
            session.outcome = "done"
    finally:
        await board.unplug()
    (said,) = judge(out).scenarios
    assert said.verdict is Verdict.PASS, said
    resets = [e.event for e in History(out / "history.jsonl").only(ev.ResetAsked)]
    asked = [event.how for event in resets if event.how == "reset"]
    assert len(asked) == 2, "one to begin with, one in the scenario"
