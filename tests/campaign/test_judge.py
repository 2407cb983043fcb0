"""From a history on disk to a verdict."""

import os

import pytest

from rig.campaign.judge import judge
from rig.campaign.verdicts import failure_rate_bound
from rig.checks import Verdict
from rig.errors import BenchError
from rig.history import events as ev
from rig.history.events import ScenarioStarted


def test_clean_cycles_pass_with_a_bound_on_the_failure_rate(told):
    told.run().scenario("s", "no_crash").cycle(1).cycle(2).cycle(3).done("s")
    verdict = judge(told.end())
    assert verdict.verdict is Verdict.PASS
    assert verdict.firmware == {"name": "speaker", "version": "v1"}
    (scenario,) = verdict.scenarios
    assert scenario.cycles == scenario.proven_cycles == 3
    assert scenario.failure_rate_bound == pytest.approx(1 - 0.05 ** (1 / 3))
    assert scenario.faults[0].asked == scenario.faults[0].seen == 3


def test_a_crash_fails_and_names_its_cycle(told):
    told.run().scenario("s", "no_crash").cycle(1).cycle(2, crash=True).cycle(3).done("s")
    (scenario,) = judge(told.end()).scenarios
    assert scenario.verdict is Verdict.FAIL
    assert scenario.first_failing_cycle == 2
    assert scenario.failure_rate_bound is None


def test_a_fault_that_was_never_seen_is_inconclusive(told):
    told.run().scenario("s", "no_crash").cycle(1, seen=False).done("s")
    verdict = judge(told.end())
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "never seen" in (verdict.scenarios[0].reason or "")


def test_a_cycle_whose_fault_was_missed_does_not_count_for_the_bound(told):
    told.run().scenario("s", "no_crash").cycle(1).cycle(2, seen=False).done("s")
    (scenario,) = judge(told.end()).scenarios
    assert scenario.verdict is Verdict.PASS
    assert (scenario.cycles, scenario.proven_cycles) == (2, 1)


def test_a_scenario_whose_every_cycle_was_cut_short_is_inconclusive_and_says_why(told):
    told.run().scenario("s", "no_crash").cycle(1, cut_short="no upgrade answer").done("s")
    (scenario,) = judge(told.end()).scenarios
    assert scenario.verdict is Verdict.INCONCLUSIVE
    assert scenario.reason == "cycle 1 was cut short: no upgrade answer"


def test_a_cycle_that_was_cut_short_does_not_count_for_the_bound(told):
    told.run().scenario("s", "no_crash").cycle(1).cycle(2, cut_short="gone").done("s")
    (scenario,) = judge(told.end()).scenarios
    assert (scenario.cycles, scenario.proven_cycles) == (2, 1)


def test_a_failure_stands_even_if_the_fault_was_never_seen(told):
    told.run().scenario("s", "no_crash").cycle(1, seen=False, crash=True).done("s")
    assert judge(told.end()).verdict is Verdict.FAIL


def test_what_a_scenario_lacks_makes_it_inconclusive_and_is_told(told):
    told.run().scenario("s", "no_crash").done("s", "lacking", "no talk in the bench")
    (scenario,) = judge(told.end()).scenarios
    assert scenario.verdict is Verdict.INCONCLUSIVE
    assert scenario.reason == "no talk in the bench"


def test_a_run_that_was_killed_is_inconclusive_and_judgeable(told):
    told.run().scenario("s", "no_crash").cycle(1)
    told.store.close()
    path = told.out / "history.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    verdict = judge(told.out)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "did not end" in (verdict.reason or "")


def test_a_killed_run_with_a_crash_in_it_still_fails(told):
    told.run().scenario("s", "no_crash").cycle(1, crash=True)
    assert judge(told.out).verdict is Verdict.FAIL


def test_an_interrupted_run_is_inconclusive(told):
    told.run().scenario("s", "no_crash").cycle(1).done("s")
    assert judge(told.end("interrupted")).verdict is Verdict.INCONCLUSIVE


def test_a_run_without_scenarios_is_inconclusive(told):
    assert judge(told.run().end()).verdict is Verdict.INCONCLUSIVE


def test_an_unknown_check_is_inconclusive(told):
    told.run().scenario("s", "no_crash", "no_such_check").cycle(1).done("s")
    assert judge(told.end()).verdict is Verdict.INCONCLUSIVE


def test_a_check_broken_on_purpose_is_inconclusive_even_where_it_is_not_required(told, monkeypatch):
    import rig.campaign.judge as module
    from rig.checks import Check

    def broken(history):
        raise RuntimeError("on purpose")

    good = module.get_check
    bad = Check("bad", "t", "s", broken)
    monkeypatch.setattr(module, "get_check", lambda name: bad if name == "bad" else good(name))
    told.run()
    told.add(
        ScenarioStarted,
        scenario="s",
        checks=("no_crash", "bad"),
        required=("no_crash",),
        needs_fault=True,
    )
    told.cycle(1).done("s")
    verdict = judge(told.end())
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "on purpose" in verdict.scenarios[0].checks[1].message


def test_no_history_says_what_to_name(tmp_path):
    with pytest.raises(BenchError, match="no history at"):
        judge(tmp_path)
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "history.jsonl").write_text("")
    os.utime(tmp_path / "first", (1, 1))
    with pytest.raises(BenchError) as told:
        judge(tmp_path)
    assert told.value.hint is not None
    assert told.value.hint.endswith(f"the newest is {tmp_path / 'second'}")


def test_the_bound_is_the_exact_one_for_no_failure_in_n():
    assert failure_rate_bound(0) is None
    assert failure_rate_bound(1) == pytest.approx(0.95)
    assert failure_rate_bound(59) == pytest.approx(0.0495, abs=1e-3)


def test_how_audio_fared_is_summed_and_what_is_unknown_stays_so(told):
    told.run().scenario("s", "no_crash", needs_fault=False)
    told.cycle(1)
    told.add(ev.AudioFared, conn=1, seconds=2.5, chunks=10, late=1, lost=0, ahead_min_ms=200.0)
    told.add(
        ev.AudioFared,
        conn=2,
        seconds=1.5,
        chunks=5,
        late=2,
        lost=None,
        ahead_min_ms=-3.0,
        answer_worst_ms=4.0,
    )
    audio = judge(told.done("s").end()).scenarios[0].audio
    assert (audio.seconds, audio.chunks, audio.late, audio.lost) == (4.0, 15, 3, None)
    assert (audio.ahead_min_ms, audio.answer_worst_ms, audio.clock_error_us) == (-3.0, 4.0, None)


def test_without_audio_nothing_is_said_of_it(told):
    told.run().scenario("s", "no_crash", needs_fault=False).cycle(1)
    assert judge(told.done("s").end()).scenarios[0].audio is None


def lacking_one(told):
    told.scenario("s", "no_crash").done("s", "lacking", "no talk in the bench")
    return told.scenario("other", "no_crash").cycle(1).done("other")


def test_what_nobody_asked_for_by_name_and_the_bench_lacks_is_told_and_does_not_count(told):
    lacking_one(told.run(catalogue=True))
    verdict = judge(told.end())
    assert verdict.verdict is Verdict.PASS
    assert verdict.reason == "s was not played: no talk in the bench"
    assert verdict.scenarios[0].verdict is Verdict.INCONCLUSIVE


def test_what_was_asked_for_by_name_counts(told):
    lacking_one(told.run())
    assert judge(told.end()).verdict is Verdict.INCONCLUSIVE


def test_a_catalogue_of_which_nothing_can_be_played_is_inconclusive(told):
    told.run(catalogue=True).scenario("s", "no_crash").done("s", "lacking", "no talk")
    assert judge(told.end()).verdict is Verdict.INCONCLUSIVE


def test_a_fault_never_seen_counts_in_a_catalogue_too(told):
    told.run(catalogue=True).scenario("s", "no_crash").cycle(1, seen=False).done("s")
    told.scenario("other", "no_crash").cycle(1).done("other")
    assert judge(told.end()).verdict is Verdict.INCONCLUSIVE
