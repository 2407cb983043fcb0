"""opening_first_serial: pass, fail, inconclusive."""

from rig.checks import Verdict
from rig.checks.opening_first_serial import opening_first_serial

DONE = "Connection handshake complete: server_id=s, connection_reason=discovery"


def test_a_handshake_on_an_open_socket_passes(wire):
    wire.socket("opened", 57).log("sendspin.conn_mgr", DONE)
    assert opening_first_serial(wire.history()).verdict is Verdict.PASS


def test_a_handshake_without_a_socket_of_its_own_fails(wire):
    wire.socket("opened", 57).log("sendspin.conn_mgr", DONE).log("sendspin.conn_mgr", DONE)
    outcome = opening_first_serial(wire.history())
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (3,)


def test_a_hello_that_failed_because_its_peer_went_away_is_no_finding(wire):
    wire.socket("opened", 57).log("sendspin.conn_mgr", DONE)
    wire.log("sendspin.conn_mgr", "Hello message send failed")
    assert opening_first_serial(wire.history()).verdict is Verdict.PASS


def test_a_log_without_sockets_is_inconclusive(wire):
    wire.log("sendspin.conn_mgr", DONE)
    assert opening_first_serial(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_a_log_without_handshakes_is_inconclusive(wire):
    assert opening_first_serial(wire.socket("opened", 57).history()).verdict is (
        Verdict.INCONCLUSIVE
    )
