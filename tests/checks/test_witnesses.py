"""The log's account of connections against the wire's."""

import pytest

from rig.checks import Verdict, get_check
from rig.checks.stretch import run_check
from rig.history import events as ev

GREETING = {"name": "Rig", "version": 1, "active_roles": [], "connection_reason": "discovery"}


def judge(wire, **options):
    return run_check(get_check("witnesses_agree"), wire.history(**options))


def shaken(wire, server, reason="discovery"):
    text = f"Connection handshake complete: server_id={server}, connection_reason={reason}"
    return wire.log("sendspin.conn_mgr", text)


def greeted(wire, conn):
    return wire.hello(conn).server(conn, "server/hello", server_id=f"server-{conn}", **GREETING)


@pytest.fixture
def served(wire):
    """Connection 1 as the wire tells it, with its sockets in the log, the handshake not yet."""
    wire.opened(1).socket("opened", 57).upgraded(1).socket("upgraded", 57)
    return greeted(wire, 1).device(1, "client/state")


def test_the_same_story_twice_passes(served):
    assert judge(shaken(served, "server-1").settled()).verdict is Verdict.PASS


def test_another_reason_in_the_log_is_a_disagreement(served):
    outcome = judge(shaken(served, "server-1", "playback").settled())
    assert outcome.verdict is Verdict.FAIL
    assert "playback" in outcome.message


def test_a_server_that_the_log_forgot_is_a_disagreement(wire, served):
    shaken(served, "server-1").settled()
    wire.opened(2).socket("opened", 58).upgraded(2).socket("upgraded", 58)
    outcome = judge(greeted(wire, 2).device(2, "client/state").settled())
    assert outcome.verdict is Verdict.FAIL
    assert "'server-2'" in outcome.message


def test_more_upgrades_on_the_wire_than_sockets_in_the_log_is_a_disagreement(wire, served):
    shaken(served, "server-1")
    assert judge(wire.opened(2).upgraded(2).settled()).verdict is Verdict.FAIL


def test_more_upgrades_in_the_log_than_on_the_wire_is_a_disagreement(served):
    shaken(served, "server-1").socket("opened", 58).socket("upgraded", 58)
    outcome = judge(served.settled())
    assert outcome.verdict is Verdict.FAIL
    assert "2 upgrades" in outcome.message


def test_a_socket_that_nobody_upgraded_may_be_anyones(served):
    shaken(served, "server-1").socket("opened", 58).socket("closed", 58)
    assert judge(served.settled()).verdict is Verdict.PASS


def test_a_server_that_is_not_the_rigs_leaves_it_open(served):
    outcome = judge(shaken(shaken(served, "server-1"), "living-room").settled())
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "living-room" in outcome.message


def test_a_log_level_that_hides_the_lines_is_said(wire):
    greeted(wire.opened(1).upgraded(1), 1).device(1, "client/state").settled()
    outcome = judge(wire)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "D lines" in outcome.message


def test_a_log_of_info_lines_is_compared_by_its_handshakes(wire):
    greeted(wire.opened(1).upgraded(1), 1).device(1, "client/state")
    outcome = judge(shaken(wire, "server-1").settled())
    assert outcome.verdict is Verdict.PASS
    assert "hides" in outcome.message


def test_a_gap_in_the_log_is_no_disagreement(wire, served):
    shaken(served, "server-1").add(ev.ConsoleGap, board="b", reason="port vanished")
    assert judge(wire.opened(2).upgraded(2).settled()).verdict is not Verdict.FAIL


def test_one_witness_alone_decides_nothing(served):
    assert judge(served.settled(), has_console=False).verdict is Verdict.INCONCLUSIVE
