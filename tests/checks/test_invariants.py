"""The table of invariants names checks that exist, and all that scenarios ask for."""

import json

from click.testing import CliRunner

from rig.checks import all_checks
from rig.checks.invariants import INVARIANTS, numbers_of
from rig.commands.checks import command
from rig.scenarios.registry import STANDARD_CHECKS

BESIDE = {"no_crash", "served_again", "no_connection_leaked", "witnesses_agree"}
"""What a scenario is judged by that is no rule of the protocol."""


def test_there_are_nineteen_each_with_checks_that_exist_and_a_source():
    assert [each.number for each in INVARIANTS] == list(range(1, 20))
    for each in INVARIANTS:
        assert each.checks
        assert set(each.checks) <= set(all_checks())
        assert each.legacy
        assert each.noise
        assert each.source


def test_every_standard_check_is_an_invariants_or_known_to_be_none():
    assert {name for name in STANDARD_CHECKS if not numbers_of(name)} == BESIDE


def test_every_invariant_about_the_device_is_judged_by_every_standard_scenario():
    asked = set(STANDARD_CHECKS)
    assert [each.number for each in INVARIANTS if not asked & set(each.checks)] == [17]


def test_the_command_lists_the_numbers():
    rows = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    found = {row["check"]: row["invariants"] for row in rows}
    assert found["uptime_never_falls"] == [7, 19]
    assert found["no_crash"] == []
