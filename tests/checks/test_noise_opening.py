"""The noise generation's opening, judged by what crosses."""

import pytest

from rig.checks import Verdict, all_checks, get_check
from rig.checks.stretch import run_check
from rig.history import events as ev


def judge(name, wire):
    return run_check(get_check(name), wire.history())


def crying(wire):
    history = wire.history()
    outcomes = {name: run_check(check, history) for name, check in all_checks().items()}
    return {name for name, outcome in outcomes.items() if outcome.verdict is Verdict.FAIL}


def sealed(wire, conn, sender):
    wire.add(ev.Frame, conn=conn, sender=sender, opcode="binary", size=80, head="aa")
    return wire


def inside(wire, conn, sender, kind, **payload):
    """A sealed frame, and what the rig's own server recorded of its inside."""
    sealed(wire, conn, sender)
    message = {"type": kind, "payload": payload}
    return wire.add(
        ev.Frame,
        conn=conn,
        sender=sender,
        opcode="text",
        size=60,
        type=kind,
        message=message,
        sealed=len(wire.events),
    )


INIT = {"client_id": "A" * 42 + "E", "version": 1, "suite": "25519_ChaChaPoly_SHA256"}


def initiated(wire, conn):
    return wire.opened(conn).upgraded(conn).device(conn, "client/init", **INIT)


def challenged(wire, conn):
    initiated(wire, conn).server(conn, "server/init", server_id="k", version=1)
    return wire.server(conn, "noise/handshake")


def in_transport(wire, conn):
    """Shaken hands, and both hellos sealed."""
    challenged(wire, conn).device(conn, "noise/handshake")
    sealed(wire, conn, "server")
    return sealed(wire, conn, "device")


@pytest.fixture
def proper(wire):
    return in_transport(wire, 1)


def test_a_proper_opening_passes_and_no_check_cries(proper):
    assert judge("noise_opening_order", proper).verdict is Verdict.PASS
    assert judge("noise_end_explained", proper).verdict is Verdict.PASS
    assert crying(proper) == set()


def test_a_sealed_frame_before_the_handshake_is_out_of_order(proper):
    sealed(initiated(proper, 2), 2, "device")
    assert crying(proper) == {"noise_opening_order"}


def test_a_clear_state_after_the_init_is_out_of_order(proper):
    initiated(proper, 2).device(2, "client/time")
    assert crying(proper) == {"noise_opening_order"}


def test_a_handshake_that_nobody_asked_for_is_out_of_order(proper):
    initiated(proper, 2).server(2, "server/init").device(2, "noise/handshake")
    assert crying(proper) == {"noise_opening_order"}


def test_a_state_between_the_hello_and_activate_is_out_of_order(proper):
    challenged(proper, 2).device(2, "noise/handshake")
    inside(proper, 2, "server", "server/hello", name="Rig")
    inside(proper, 2, "device", "client/hello", name="speaker")
    inside(proper, 2, "device", "client/state", available=True)
    assert crying(proper) == {"noise_opening_order"}


def test_a_binary_frame_before_the_init_is_no_opening(proper):
    sealed(proper.opened(2).upgraded(2), 2, "device")
    assert crying(proper) == {"opening_first"}


def test_a_second_init_is_named_by_opened_once_alone(proper):
    initiated(proper, 2).device(2, "client/init", **INIT)
    assert crying(proper) == {"opened_once"}


@pytest.mark.parametrize(
    "steps", [challenged, lambda wire, conn: challenged(wire, conn).device(conn, "noise/handshake")]
)
def test_an_end_without_a_word_in_the_opening_is_named_alone(proper, steps):
    steps(proper, 2).fin(2, "device").closed(2)
    assert crying(proper) == {"noise_end_explained"}


def test_an_end_after_the_servers_error_is_explained(proper):
    challenged(proper, 2).server(2, "server/error").fin(2, "device").closed(2)
    assert crying(proper) == set()


def test_an_end_at_thirty_seconds_is_the_devices_patience(proper):
    challenged(proper, 2).device(2, "noise/handshake").wait(30.0).fin(2, "device").closed(2)
    assert crying(proper) == set()


def test_an_end_under_a_fault_decides_nothing(wire):
    challenged(wire.fault_seen(), 1).fin(1, "device").closed(1)
    assert judge("noise_end_explained", wire).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", ["noise_opening_order", "noise_end_explained"])
def test_a_legacy_device_is_not_judged(wire, name):
    assert judge(name, wire.greeted(1)).verdict is Verdict.INCONCLUSIVE
