"""client_id_stable and uptime_never_falls: pass, fail, inconclusive."""

from rig.checks import Verdict
from rig.checks.identity import client_id_stable, uptime_never_falls
from rig.history.events import LogLine


def _time(wire, conn, seconds):
    return wire.device(conn, "client/time", client_transmitted=int(seconds * 1e6))


def test_one_client_id_over_reconnects_passes(wire):
    assert client_id_stable(wire.greeted(1).greeted(2).history()).verdict is Verdict.PASS


def test_two_client_ids_fail(wire):
    wire.opened(1).upgraded(1).hello(1, "a").opened(2).upgraded(2).hello(2, "b")
    outcome = client_id_stable(wire.history())
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (4, 8)


def test_a_client_id_that_is_no_string_fails(wire):
    wire.opened(1).upgraded(1).hello(1, None).opened(2).upgraded(2).hello(2, None)
    assert client_id_stable(wire.history()).verdict is Verdict.FAIL


def test_one_hello_alone_is_inconclusive(wire):
    assert client_id_stable(wire.greeted(1).history()).verdict is Verdict.INCONCLUSIVE


def test_a_rising_clock_passes(wire):
    _time(_time(wire.greeted(1), 1, 20), 1, 21)
    assert uptime_never_falls(wire.history()).verdict is Verdict.PASS


def test_a_clock_that_falls_back_over_a_reconnect_fails(wire):
    _time(_time(wire.greeted(1), 1, 60).greeted(2), 2, 3)
    assert uptime_never_falls(wire.history()).verdict is Verdict.FAIL


def test_a_clock_that_stands_still_on_one_connection_fails(wire):
    _time(_time(wire.greeted(1), 1, 60), 1, 60)
    assert uptime_never_falls(wire.history()).verdict is Verdict.FAIL


def test_a_boot_in_between_explains_the_fall(wire):
    _time(_time(wire.greeted(1), 1, 60).boot().greeted(2), 2, 3)
    assert uptime_never_falls(wire.history()).verdict is Verdict.PASS


def test_a_frame_held_up_on_another_connection_does_not_fail(wire):
    _time(_time(wire.greeted(1).greeted(2), 2, 60), 1, 57)
    assert uptime_never_falls(wire.history()).verdict is Verdict.PASS


def test_one_clock_value_is_inconclusive(wire):
    assert uptime_never_falls(_time(wire.greeted(1), 1, 5).history()).verdict is (
        Verdict.INCONCLUSIVE
    )


def test_junk_instead_of_a_clock_is_not_taken_for_one(wire):
    wire.greeted(1).device(1, "client/time", client_transmitted="x")
    wire.device(1, "client/time", client_transmitted=True)
    assert uptime_never_falls(wire.history()).verdict is Verdict.INCONCLUSIVE


def _logged(wire, *times):
    for ms in times:
        wire.add(LogLine, board="b", text="x", line=1, offset=0, device_ms=ms)
    return _time(_time(wire.greeted(1), 1, 20), 1, 21)


def test_a_log_whose_time_falls_back_is_a_restart_whose_banner_was_lost(wire):
    outcome = uptime_never_falls(_logged(wire, 8000, 8100, 200, 300).history())
    assert outcome.verdict is Verdict.FAIL
    assert "8000 to 200 ms" in outcome.message


def test_a_time_stamp_spoilt_by_noise_is_no_restart(wire):
    history = _logged(wire, 8000, 98100, 8200, 8300, 300, 8400, 8500).history()
    assert uptime_never_falls(history).verdict is Verdict.PASS


def test_a_log_that_begins_anew_after_a_boot_is_no_finding(wire):
    _logged(wire, 8000, 8100).boot()
    wire.add(LogLine, board="b", text="x", line=1, offset=0, device_ms=20)
    wire.add(LogLine, board="b", text="x", line=1, offset=0, device_ms=30)
    assert uptime_never_falls(wire.history()).verdict is Verdict.PASS
