"""Every scenario declares itself completely, with faults and checks that exist."""

from __future__ import annotations

import pytest

from rig.checks import all_checks
from rig.errors import BenchError
from rig.faults import all_faults
from rig.scenarios import all_scenarios, get_scenario
from rig.scenarios.registry import ORDER

SCENARIOS = tuple(all_scenarios())


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_names_only_faults_and_checks_that_exist(name):
    scenario = get_scenario(name)
    assert scenario.title
    assert scenario.play.__doc__
    assert scenario.cycles >= 1
    assert set(scenario.faults) <= set(all_faults())
    assert set(scenario.checks) <= set(all_checks())


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_a_scenario_requires_is_among_what_judges_it(name):
    scenario = get_scenario(name)
    assert scenario.required
    assert set(scenario.required) <= set(scenario.checks)


def test_the_catalogue_is_played_in_its_order():
    assert SCENARIOS[: len(ORDER)] == ORDER


def test_an_unknown_scenario_names_the_nearest():
    with pytest.raises(BenchError, match="did you mean 'drop-queued'"):
        get_scenario("drop-queud")
