"""greeted_in_time and served_again: pass, fail, inconclusive."""

from rig.checks import Verdict
from rig.checks.greeted import greeted_in_time, served_again
from rig.history.events import ConsoleGap


def test_a_held_connection_that_is_greeted_passes(wire):
    wire.opened(1).upgraded(1).held(1).hello(1)
    assert greeted_in_time(wire.history()).verdict is Verdict.PASS


def test_one_greeted_before_it_was_held_passes(wire):
    wire.opened(1).upgraded(1).hello(1).held(1)
    assert greeted_in_time(wire.history()).verdict is Verdict.PASS


def test_a_held_connection_that_is_never_greeted_fails(wire):
    wire.opened(1).upgraded(1).held(1, 2.0).wait(2.1).settled()
    outcome = greeted_in_time(wire.history())
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (3, 4)


def test_a_hello_that_comes_too_late_fails(wire):
    wire.opened(1).upgraded(1).held(1, 2.0).wait(3).hello(1)
    assert greeted_in_time(wire.history()).verdict is Verdict.FAIL


def test_a_connection_that_the_device_ended_is_not_judged(wire):
    wire.opened(1).upgraded(1).held(1).fin(1, "device").closed(1).wait(3).settled()
    assert greeted_in_time(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_a_crash_overtakes_the_held_connections(wire):
    wire.opened(1).upgraded(1).held(1).crash_began().wait(3).settled()
    assert greeted_in_time(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_a_history_that_ends_while_it_waits_is_inconclusive(wire):
    wire.opened(1).upgraded(1).held(1, 2.0).wait(1).settled()
    assert greeted_in_time(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_no_held_connection_is_inconclusive(wire):
    assert greeted_in_time(wire.greeted(1).history()).verdict is Verdict.INCONCLUSIVE


def test_a_greeting_after_the_fault_passes(wire):
    wire.greeted(1).fault_seen().greeted(2)
    assert served_again(wire.history()).verdict is Verdict.PASS


def test_a_connection_opened_before_the_fault_does_not_speak_for_after_it(wire):
    wire.opened(1).upgraded(1).fault_seen().hello(1)
    assert served_again(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_refused_ever_after_fails(wire):
    wire.greeted(1).fault_seen().refused().refused()
    outcome = served_again(wire.history())
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (6, 8)


def test_held_and_never_greeted_after_the_fault_fails(wire):
    wire.greeted(1).fault_seen().opened(2).upgraded(2).held(2).wait(3).settled()
    assert served_again(wire.history()).verdict is Verdict.FAIL


def test_nobody_tried_after_the_fault_is_inconclusive(wire):
    assert served_again(wire.greeted(1).fault_seen().history()).verdict is Verdict.INCONCLUSIVE


def test_no_fault_is_inconclusive(wire):
    assert served_again(wire.greeted(1).history()).verdict is Verdict.INCONCLUSIVE


def test_a_board_that_was_taken_away_is_not_blamed(wire):
    wire.greeted(1).fault_seen().add(ConsoleGap, board="b", reason="unplugged", gone=True)
    wire.refused().refused()
    assert served_again(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_a_port_that_came_back_does_not_excuse_the_device(wire):
    wire.greeted(1).fault_seen().add(ConsoleGap, board="b", reason="unplugged", gone=True)
    wire.add(ConsoleGap, board="b", reason="back").refused().refused()
    assert served_again(wire.history()).verdict is Verdict.FAIL


def test_a_connection_held_when_the_board_was_taken_away_is_not_judged(wire):
    wire.opened(1).upgraded(1).held(1)
    wire.add(ConsoleGap, board="b", reason="unplugged", gone=True).wait(3).settled()
    assert greeted_in_time(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_a_device_that_ends_most_connections_instead_of_greeting_them_does_not_pass(wire):
    wire.greeted(1).held(1).closed(1)
    for conn in (2, 3):
        wire.opened(conn).upgraded(conn).held(conn).fin(conn, "device").closed(conn)
    assert greeted_in_time(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_one_that_the_device_ended_and_that_was_tried_again_passes(wire):
    wire.opened(1).upgraded(1).held(1).fin(1, "device").closed(1).greeted(2).held(2)
    assert greeted_in_time(wire.history()).verdict is Verdict.PASS
