"""How checks declare themselves and are run."""

import pytest

from rig.checks import Check, Verdict, all_checks, get_check, passed, worst
from rig.checks.stretch import Recorded, run_check
from rig.errors import BenchError


def test_every_check_of_the_issue_is_declared_with_title_and_source():
    checks = all_checks()
    assert {
        "no_crash",
        "no_unasked_reboot",
        "opening_first",
        "opening_first_serial",
        "nothing_before_upgrade",
        "no_foreign_frame",
        "greeted_in_time",
        "served_again",
        "client_id_stable",
        "uptime_never_falls",
        "no_connection_leaked",
    } <= checks.keys()
    assert all(check.title and check.source for check in checks.values())


def test_an_unknown_check_names_the_nearest():
    with pytest.raises(BenchError, match="did you mean 'no_crash'"):
        get_check("no_crush")


def test_a_check_that_raises_is_inconclusive_with_its_traceback():
    def broken(history):
        raise ZeroDivisionError("on purpose")

    outcome = run_check(Check("broken", "t", "s", broken), Recorded([]))
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "ZeroDivisionError" in outcome.message
    assert "on purpose" in outcome.message


def test_a_check_that_returns_nonsense_is_inconclusive():
    outcome = run_check(Check("odd", "t", "s", lambda history: True), Recorded([]))
    assert outcome.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", sorted(all_checks()))
def test_no_check_passes_an_empty_history_without_a_console(name):
    outcome = run_check(get_check(name), Recorded([], has_console=False))
    assert outcome.verdict is Verdict.INCONCLUSIVE


def test_one_failure_fails_the_whole_and_one_doubt_makes_it_inconclusive():
    good, doubt, bad = Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL
    assert worst([good, doubt, bad]) is bad
    assert worst([good, doubt]) is doubt
    assert worst([good, good]) is good
    assert worst([]) is doubt


def test_verdicts_carry_the_documented_exit_codes():
    assert [v.exit_code for v in Verdict] == [0, 1, 3]
    assert passed("x").verdict.exit_code == 0
