"""no_connection_leaked: pass, fail, inconclusive."""

from rig.checks import Verdict
from rig.checks.leaks import no_connection_leaked
from rig.history.events import ConsoleGap, FaultAsked


def test_every_socket_closed_passes(wire):
    wire.greeted(1).socket("opened", 57).socket("closed", 57).closed(1).settled()
    assert no_connection_leaked(wire.history()).verdict is Verdict.PASS


def test_a_socket_left_open_fails(wire):
    wire.opened(1).socket("opened", 57).closed(1).settled()
    outcome = no_connection_leaked(wire.history())
    assert outcome.verdict is Verdict.FAIL
    assert "socket 57" in outcome.message
    assert outcome.evidence == (2, 4)


def test_a_reboot_closes_all_sockets(wire):
    wire.opened(1).socket("opened", 57).boot().closed(1).settled()
    assert no_connection_leaked(wire.history()).verdict is Verdict.PASS


def test_a_log_that_hides_sockets_is_inconclusive(wire):
    assert no_connection_leaked(wire.greeted(1).closed(1).settled().history()).verdict is (
        Verdict.INCONCLUSIVE
    )


def test_connections_that_are_still_held_make_it_inconclusive(wire):
    wire.opened(1).socket("opened", 57).settled()
    assert no_connection_leaked(wire.history()).verdict is Verdict.INCONCLUSIVE


def test_a_gap_in_the_log_forgets_what_it_may_have_missed(wire):
    wire.opened(1).socket("opened", 57).add(ConsoleGap, board="b", reason="gone", gone=True)
    wire.closed(1).settled()
    assert no_connection_leaked(wire.history()).verdict is Verdict.PASS


def test_a_crash_closes_all_sockets_also_of_a_program_that_has_no_boot_banner(wire):
    wire.opened(1).socket("opened", 57).crash_began().closed(1).settled()
    assert no_connection_leaked(wire.history()).verdict is Verdict.PASS


def test_a_socket_whose_device_was_never_told_of_the_end_is_no_leak(wire):
    wire.opened(1).socket("opened", 57).add(FaultAsked, id=1, fault="rst-forged", conn=1)
    wire.closed(1).settled()
    assert no_connection_leaked(wire.history()).verdict is Verdict.PASS
    wire.opened(2).socket("opened", 58).closed(2).settled()
    assert no_connection_leaked(wire.history()).verdict is Verdict.FAIL
