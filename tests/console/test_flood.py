"""A console that floods."""

from __future__ import annotations

from msgspec.structs import replace

from rig.console.flood import BURST, RATE, FloodGate
from rig.history.events import Boot, LogLine, Note

S = 1_000_000_000


def _line(t: int) -> LogLine:
    return LogLine(t=t, board="b", line=1, offset=0, text="x")


def test_a_flood_is_let_in_up_to_its_rate_and_the_rest_is_counted():
    gate = FloodGate("b")
    kept = [each for at in range(BURST + 500) for each in gate.through(_line(0))]
    assert len(kept) == BURST

    told, line = gate.through(_line(S))
    assert isinstance(told, Note)
    assert "b: 500 log lines left out" in told.text
    assert line == _line(S)
    assert len([each for _ in range(RATE * 2) for each in gate.through(_line(S))]) == RATE - 1
    (last,) = gate.rest(S)
    assert isinstance(last, Note)
    assert f"b: {RATE + 1} log lines" in last.text
    assert gate.rest(S) == []


def test_what_is_no_log_line_always_passes():
    gate = FloodGate("b")
    for _ in range(BURST + 1):
        gate.through(_line(0))
    boot = Boot(t=0, board="b", line=1, reset_code=1, reset_name="POWERON")
    assert gate.through(boot) == [boot]
    assert gate.through(_line(0)) == []


def test_sendspins_own_lines_are_not_lost_in_the_flood_of_another():
    gate = FloodGate("b")
    for _ in range(BURST + 1):
        gate.through(_line(0))
    own = replace(_line(0), component="sendspin.conn_mgr")
    assert gate.through(own)[-1] == own
