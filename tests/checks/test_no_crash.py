"""no_crash and no_unasked_reboot: pass, fail, inconclusive."""

from rig.checks import Verdict
from rig.checks.no_crash import no_crash, no_unasked_reboot
from rig.history.events import ConsoleGap


def test_a_quiet_console_passes(wire):
    assert no_crash(wire.greeted(1).history()).verdict is Verdict.PASS


def test_a_crash_fails_with_its_first_line_and_its_record_as_evidence(wire):
    outcome = no_crash(wire.greeted(1).crash_began().crash().history())
    assert outcome.verdict is Verdict.FAIL
    assert "Load access fault" in outcome.message
    assert outcome.evidence == (6, 7)
    assert outcome.findings == 1


def test_a_crash_whose_record_never_came_fails_all_the_same(wire):
    outcome = no_crash(wire.crash_began().history())
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (1,)


def test_two_crashes_are_two_findings(wire):
    history = wire.crash_began(1).crash(1).crash_began(2).crash(2).history()
    assert no_crash(history).findings == 2


def test_without_a_console_no_crash_is_inconclusive(wire):
    outcome = no_crash(wire.greeted(1).history(has_console=False))
    assert outcome.verdict is Verdict.INCONCLUSIVE


def test_an_asked_for_reset_passes(wire):
    history = wire.reset_asked().boot(1, "POWERON").app().history()
    assert no_unasked_reboot(history).verdict is Verdict.PASS


def test_a_boot_out_of_nowhere_fails(wire):
    outcome = no_unasked_reboot(wire.greeted(1).boot().history())
    assert outcome.verdict is Verdict.FAIL
    assert "rst:0xc (RTC_SW_CPU_RST)" in outcome.message


def test_one_reset_excuses_one_boot_only(wire):
    history = wire.reset_asked().boot(1, "POWERON").app().boot().history()
    outcome = no_unasked_reboot(history)
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (4,)


def test_without_a_console_no_reboot_is_inconclusive(wire):
    assert no_unasked_reboot(wire.history(has_console=False)).verdict is Verdict.INCONCLUSIVE


def test_a_port_that_went_away_by_itself_may_have_hidden_a_crash(wire):
    wire.app().greeted(1).add(ConsoleGap, board="b", reason="gone", gone=True)
    wire.add(ConsoleGap, board="b", reason="back").greeted(2)
    assert no_crash(wire.history()).verdict is Verdict.INCONCLUSIVE
    assert no_unasked_reboot(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_a_port_that_goes_away_with_an_asked_reset_hides_nothing(wire):
    wire.app().reset_asked().add(ConsoleGap, board="b", reason="gone", gone=True).app()
    assert no_crash(wire.greeted(1).history()).verdict is Verdict.PASS
