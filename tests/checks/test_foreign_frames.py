"""no_foreign_frame and silent_before_server_hello: pass, fail, inconclusive."""

from rig.checks import Verdict
from rig.checks.foreign_frames import no_foreign_frame, silent_before_server_hello
from rig.history.events import Frame

HOUR_US = 3_600_000_000


def test_frames_without_foreign_marks_pass(wire):
    wire.greeted(1).device(1, "client/state", volume=3).greeted(2)
    assert no_foreign_frame(wire.history()).verdict is Verdict.PASS


def test_a_frame_with_another_connections_server_id_fails(wire):
    wire.greeted(1).greeted(2).device(2, "client/state", server={"id": "server-1"})
    outcome = no_foreign_frame(wire.history())
    assert outcome.verdict is Verdict.FAIL
    assert "connection 1" in outcome.message
    assert outcome.evidence == (11,)


def test_a_frame_with_another_connections_clock_fails(wire):
    wire.greeted(1).greeted(2).device(2, "client/time", server_received=1001 * HOUR_US + 5)
    assert no_foreign_frame(wire.history()).verdict is Verdict.FAIL


def test_a_foreign_mark_before_the_upgrade_fails(wire):
    wire.greeted(1).opened(2).early(2, "client/state", echo=["server-1"])
    assert no_foreign_frame(wire.history()).verdict is Verdict.FAIL


def test_a_frame_that_names_its_own_server_may_tell_of_others(wire):
    wire.greeted(1).greeted(2).device(2, "client/state", servers=["server-1", "server-2"])
    assert no_foreign_frame(wire.history()).verdict is Verdict.PASS


def test_the_devices_own_small_clock_is_nobodys_epoch(wire):
    wire.greeted(1).device(1, "client/time", client_transmitted=12_345_678)
    assert no_foreign_frame(wire.history()).verdict is Verdict.PASS


def test_a_pong_to_another_connections_ping_fails(wire):
    wire.greeted(1).greeted(2)
    wire.add(Frame, conn=1, sender="server", opcode="ping", size=2, head="aa01")
    wire.add(Frame, conn=2, sender="device", opcode="pong", size=2, head="aa01")
    assert no_foreign_frame(wire.history()).verdict is Verdict.FAIL


def test_a_pong_to_its_own_ping_passes(wire):
    wire.greeted(1)
    wire.add(Frame, conn=1, sender="server", opcode="ping", size=2, head="aa01")
    wire.add(Frame, conn=1, sender="device", opcode="pong", size=2, head="aa01")
    assert no_foreign_frame(wire.history()).verdict is Verdict.PASS


def test_no_frame_to_look_into_is_inconclusive(wire):
    assert no_foreign_frame(wire.opened(1).history()).verdict is Verdict.INCONCLUSIVE


def test_a_deeply_nested_message_does_not_break_the_check(wire):
    nest: object = "server-9"
    for _ in range(5000):
        nest = [nest]
    wire.greeted(1).device(1, "client/state", nest=nest)
    assert no_foreign_frame(wire.history()).verdict is Verdict.PASS


def test_silence_until_the_servers_hello_passes(wire):
    wire.greeted(1).device(1, "client/state").device(1, "client/time")
    assert silent_before_server_hello(wire.history()).verdict is Verdict.PASS


def test_a_state_between_the_hellos_fails(wire):
    wire.opened(1).upgraded(1).hello(1).device(1, "client/state").server(1, "server/hello")
    outcome = silent_before_server_hello(wire.history())
    assert outcome.verdict is Verdict.FAIL
    assert outcome.evidence == (4, 5)


def test_a_goodbye_between_the_hellos_passes(wire):
    wire.opened(1).upgraded(1).hello(1).device(1, "client/goodbye")
    assert silent_before_server_hello(wire.history()).verdict is Verdict.PASS


def test_without_any_hello_silence_is_inconclusive(wire):
    history = wire.opened(1).upgraded(1).history()
    assert silent_before_server_hello(history).verdict is Verdict.INCONCLUSIVE
