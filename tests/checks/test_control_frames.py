"""Frames framed right: who dialled masks."""

from __future__ import annotations

import pytest

from rig.checks import Verdict, get_check
from rig.checks.stretch import run_check
from rig.history import events as ev


@pytest.mark.parametrize(
    ("dialled_by", "masked", "verdict"),
    [
        ("server", False, Verdict.PASS),
        ("server", True, Verdict.FAIL),
        ("device", True, Verdict.PASS),
        ("device", False, Verdict.FAIL),
    ],
)
def test_only_who_dialled_masks(wire, dialled_by, masked, verdict):
    wire.add(
        ev.ConnectionOpened,
        conn=1,
        board="b",
        server_id="s",
        epoch_us=0,
        local="l",
        peer="p",
        dialled_by=dialled_by,
    ).upgraded(1)
    wire.add(
        ev.Frame,
        conn=1,
        sender="device",
        opcode="text",
        size=9,
        type="client/hello",
        masked=masked,
    )
    assert run_check(get_check("frames_framed_right"), wire.history()).verdict is verdict
