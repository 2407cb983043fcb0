"""opening_first and nothing_before_upgrade: pass, fail, inconclusive."""

import pytest

from rig.checks import Verdict
from rig.checks.opening_first import nothing_before_upgrade, opening_first
from rig.history.events import Frame


@pytest.mark.parametrize("opening", ["client/hello", "client/init"])
def test_the_opening_message_of_either_generation_first_passes(wire, opening):
    history = wire.opened(1).upgraded(1).device(1, opening).device(1, "client/state").history()
    assert opening_first(history).verdict is Verdict.PASS


@pytest.mark.parametrize("stray", ["client/time", "client/state", "client/command", None])
def test_any_other_first_frame_fails(wire, stray):
    outcome = opening_first(wire.opened(1).upgraded(1).device(1, stray).hello(1).history())
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (3, 4)


def test_a_goodbye_alone_passes(wire):
    history = wire.opened(1).upgraded(1).device(1, "client/goodbye").fin(1, "device").history()
    assert opening_first(history).verdict is Verdict.PASS


def test_a_goodbye_that_is_said_twice_is_no_opening(wire):
    wire.opened(1).upgraded(1).device(1, "client/goodbye").device(1, "client/goodbye")
    assert opening_first(wire.fin(1, "device").history()).verdict is Verdict.PASS


def test_a_goodbye_that_is_not_the_last_word_fails(wire):
    history = wire.opened(1).upgraded(1).device(1, "client/goodbye").hello(1).history()
    assert opening_first(history).verdict is Verdict.FAIL


def test_one_bad_connection_among_good_ones_fails(wire):
    wire.greeted(1).greeted(2).opened(3).upgraded(3).device(3, "client/time")
    outcome = opening_first(wire.history())
    assert outcome.verdict is Verdict.FAIL
    assert "connection 3" in outcome.message


def test_a_pong_does_not_count_as_the_first_message(wire):
    from rig.history.events import Frame

    wire.opened(1).upgraded(1).add(Frame, conn=1, sender="device", opcode="pong", size=4)
    assert opening_first(wire.hello(1).history()).verdict is Verdict.PASS


def test_no_message_at_all_is_inconclusive(wire):
    assert opening_first(wire.opened(1).upgraded(1).history()).verdict is Verdict.INCONCLUSIVE


def test_silence_before_the_upgrade_passes(wire):
    assert nothing_before_upgrade(wire.greeted(1).history()).verdict is Verdict.PASS


@pytest.mark.parametrize("stray", ["client/time", "client/state", None])
def test_a_frame_before_the_upgrade_answer_fails(wire, stray):
    outcome = nothing_before_upgrade(wire.opened(1).early(1, stray).upgraded(1).hello(1).history())
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (2,)


def test_the_lone_goodbye_that_refuses_a_surplus_peer_is_allowed(wire):
    wire.greeted(1).opened(2).early(2, "client/goodbye").fin(2, "device").closed(2)
    assert nothing_before_upgrade(wire.history()).verdict is Verdict.PASS


def test_the_refusals_upgrade_answer_may_still_follow_it(wire):
    wire.greeted(1).opened(2).early(2, "client/goodbye").upgraded(2).fin(2, "device").closed(2)
    assert nothing_before_upgrade(wire.history()).verdict is Verdict.PASS


def test_a_goodbye_before_the_upgrade_of_a_connection_that_lives_on_fails(wire):
    wire.opened(2).early(2, "client/goodbye").upgraded(2).hello(2)
    assert nothing_before_upgrade(wire.history()).verdict is Verdict.FAIL


def test_no_upgrade_at_all_is_inconclusive(wire):
    assert nothing_before_upgrade(wire.opened(1).history()).verdict is Verdict.INCONCLUSIVE


def _fragments(wire, kind):
    """A message in two: only the last fragment tells its type."""
    fields = {"conn": 1, "sender": "device", "size": 20}
    wire.opened(1).upgraded(1).add(Frame, opcode="text", fin=False, **fields)
    message = {"type": kind, "payload": {"client_id": "a"}}
    return wire.add(Frame, opcode="continuation", type=kind, message=message, **fields)


def test_a_hello_in_fragments_is_a_hello(wire):
    assert opening_first(_fragments(wire, "client/hello").history()).verdict is Verdict.PASS


def test_another_message_in_fragments_is_no_hello(wire):
    outcome = opening_first(_fragments(wire, "client/state").hello(1).history())
    assert outcome.verdict is Verdict.FAIL
    assert "client/state" in outcome.message
