"""What a buggy or hostile device, or half a history, may not pass for a clean run."""

import pytest

from rig.campaign.judge import judge
from rig.campaign.runner import conclude
from rig.checks import Verdict
from rig.history import events as ev

CRASH = {"board": "b", "crash": 1, "kind": "panic", "line": 3, "text": "Guru"}


def two(told, **between):
    told.run(scenarios=["s", "t"]).scenario("s", "no_crash").cycle(1).done("s")
    if between:
        told.add(ev.CrashBegan, **between)
    return told.scenario("t", "no_crash").cycle(1).done("t")


def test_a_crash_between_two_scenarios_is_the_later_ones(told):
    first, second = judge(two(told, **CRASH).end()).scenarios
    assert (first.verdict, second.verdict) == (Verdict.PASS, Verdict.FAIL)


def test_a_crash_after_the_last_scenario_is_the_last_ones(told):
    two(told).add(ev.CrashBegan, **CRASH)
    first, second = judge(told.end()).scenarios
    assert (first.verdict, second.verdict) == (Verdict.PASS, Verdict.FAIL)


def test_under_pytest_what_lies_between_two_scenarios_is_other_tests(told):
    told.run(face="pytest").scenario("s", "no_crash").cycle(1).done("s")
    told.add(ev.CrashBegan, **CRASH)
    told.scenario("t", "no_crash").cycle(1).done("t")
    assert judge(told.end()).verdict is Verdict.PASS


def test_a_cycle_without_any_fault_proves_nothing_of_a_scenario_of_faults(told):
    told.run().scenario("s", "no_crash").cycle(1)
    told.add(ev.CycleStarted, scenario="s", cycle=2)
    told.add(ev.CycleEnded, scenario="s", cycle=2)
    (scenario,) = judge(told.done("s").end()).scenarios
    assert (scenario.cycles, scenario.proven_cycles) == (2, 1)


def test_one_fault_seen_twice_does_not_prove_another(told):
    told.run().scenario("s", "no_crash")
    told.add(ev.CycleStarted, scenario="s", cycle=1)
    for number in (1, 2):
        told.add(ev.FaultAsked, id=number, fault="rst")
    for _ in range(2):
        told.add(ev.FaultSeen, id=1, fault="rst", how="TcpReset")
    told.add(ev.CycleEnded, scenario="s", cycle=1)
    assert judge(told.done("s").end()).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("missed", [{"seen": False}, {"cut_short": "no upgrade answer"}])
def test_when_most_cycles_prove_nothing_the_few_that_do_are_no_pass(told, missed):
    told.run().scenario("s", "no_crash", cycles=3).cycle(1).cycle(2, **missed)
    (scenario,) = judge(told.cycle(3, **missed).done("s").end()).scenarios
    assert scenario.verdict is Verdict.INCONCLUSIVE
    assert "only 1 of 3 cycles" in (scenario.reason or "")
    assert scenario.failure_rate_bound is None


def test_fewer_cycles_than_were_asked_for_are_no_pass(told):
    told.run().scenario("s", "no_crash", cycles=5).cycle(1).cycle(2).done("s")
    (scenario,) = judge(told.end()).scenarios
    assert scenario.reason == "2 of 5 cycles were played"


def test_a_scenario_of_the_plan_that_is_not_in_the_history_is_missed(told):
    told.run(scenarios=["s", "t"]).scenario("s", "no_crash").cycle(1).done("s")
    verdict = judge(told.end())
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "nothing of t" in (verdict.reason or "")


def talking(told, name, *, says):
    told.scenario(name, "no_crash")
    told.add(ev.UpgradeAnswered, conn=1, status=101)
    if says:
        told.add(ev.SocketSeen, board="b", line=9, op="opened", fd=57)
    return told.cycle(1).done(name)


def test_a_console_that_fell_silent_would_not_tell_of_a_crash(told):
    talking(talking(told.run(), "s", says=True), "t", says=False)
    first, second = judge(told.end()).scenarios
    assert (first.verdict, second.verdict) == (Verdict.PASS, Verdict.INCONCLUSIVE)


def test_a_console_that_never_tells_of_connections_is_not_taken_for_deaf(told):
    talking(talking(told.run(), "s", says=False), "t", says=False)
    assert judge(told.end()).verdict is Verdict.PASS


def whole(told):
    told.run(scenarios=["s", "t"])
    for name in ("s", "t"):
        told.scenario(name, "no_crash", cycles=2).cycle(1).cycle(2).done(name)
    return told.end() / "history.jsonl"


def test_a_history_cut_anywhere_never_passes(told, tmp_path):
    lines = whole(told).read_bytes().splitlines(keepends=True)
    assert judge(told.out).verdict is Verdict.PASS
    cut = tmp_path / "cut.jsonl"
    for kept in range(len(lines)):
        cut.write_bytes(b"".join(lines[:kept]))
        assert judge(cut).verdict is Verdict.INCONCLUSIVE, f"the first {kept} lines"


def test_a_history_that_lacks_a_scenario_or_a_cycle_never_passes(told, tmp_path):
    """Whole pieces cut out of the middle, the end left on."""
    lines = whole(told).read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    for at, line in enumerate(lines):
        if b'"event":"cycle_ended"' not in line and b'"event":"scenario_started"' not in line:
            continue
        cut.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
        assert judge(cut).verdict is not Verdict.PASS, line


def test_a_verdict_is_not_written_through_a_planted_link(told):
    precious = told.out / "precious"
    precious.write_text("precious")
    (told.out / "verdict.json").symlink_to(precious)
    assert conclude(whole(told).parent).verdict is Verdict.PASS
    assert precious.read_text() == "precious"
