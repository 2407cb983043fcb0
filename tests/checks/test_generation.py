"""A required wire generation."""

import pytest

from rig.checks import Verdict, get_check
from rig.checks.stretch import run_check
from rig.history import events as ev


def judge(wire):
    return run_check(get_check("generation_as_required"), wire.history())


def required(wire, generation):
    return wire.add(ev.ScenarioStarted, scenario="s", params={"generation": generation})


@pytest.mark.parametrize(
    ("opening", "generation"), [("client/hello", "legacy"), ("client/init", "noise")]
)
def test_the_required_generation_passes_and_the_other_one_fails(wire, opening, generation):
    for asked in ("legacy", "noise"):
        required(wire, asked)
        wire.opened(1).upgraded(1).device(1, opening, client_id="a")
        wanted = Verdict.PASS if asked == generation else Verdict.FAIL
        assert judge(wire).verdict is wanted
        wire.events.clear()


def test_without_a_requirement_or_an_opening_nothing_is_said(wire):
    wire.opened(1).upgraded(1).hello(1)
    assert judge(wire).verdict is Verdict.INCONCLUSIVE
    wire.events.clear()
    required(wire, "noise").opened(1).upgraded(1)
    assert judge(wire).verdict is Verdict.INCONCLUSIVE
