"""A double that breaks one invariant at a time: exactly the check of that invariant cries.

`Device` is no device: it writes the history that one would leave behind, rightly or with one rule
broken. What real devices do is judged by runs on boards.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rig.checks import Verdict, all_checks
from rig.checks.stretch import run_check
from rig.history import events as ev

HELLO = {
    "client_id": "aa:bb",
    "device_info": {"mac_address": "aa:bb"},
    "player@v1_support": {"supported_commands": ["volume", "mute"]},
}
GREETING = {"name": "Rig", "version": 1, "active_roles": ["player@v1"]}


class Device:
    """A proper conversation with one device, step by step, on the `wire` of conftest.py."""

    def __init__(self, wire):
        self.wire = wire
        self.clock = 20_000_000

    def opened(self, conn, *, hello=True):
        self.wire.opened(conn).upgraded(conn)
        if hello:
            self.wire.device(conn, "client/hello", **HELLO)

    def greet(self, conn, reason="discovery"):
        self.wire.server(
            conn,
            "server/hello",
            server_id=f"server-{conn}",
            connection_reason=reason,
            **GREETING,
        )

    def state(self, conn, volume=50, **more):
        player = {"volume": volume, "muted": False}
        self.wire.device(conn, "client/state", state="synchronized", player=player, **more)

    def served(self, conn, reason="discovery"):
        self.opened(conn)
        self.greet(conn, reason)
        self.state(conn)

    def time(self, conn, *, later_us=10_000, answered=True):
        self.clock += later_us
        self.wire.device(conn, "client/time", client_transmitted=self.clock)
        if answered:
            self.wire.server(conn, "server/time", client_transmitted=self.clock)

    def control(self, conn, sender, opcode, head, **more):
        self.wire.add(ev.Frame, conn=conn, sender=sender, opcode=opcode, size=4, head=head, **more)

    def command(self, conn, volume):
        self.wire.server(conn, "server/command", player={"command": "volume", "volume": volume})

    def goodbye(self, conn, reason="another_server"):
        self.wire.device(conn, "client/goodbye", reason=reason)

    def ended(self, conn):
        self.wire.fin(conn, "device").closed(conn)

    def closed_in_order(self, conn):
        self.control(conn, "server", "close", "03e8")
        self.control(conn, "device", "close", "03e8")
        self.ended(conn)


def proper(device):
    """Two servers, commands, pings, a burst, both hand-offs, a reaped peer: nothing broken."""
    device.served(1)
    for _ in range(8):
        device.time(1)
    device.time(1, later_us=10_000_000)
    device.control(1, "server", "ping", "0101")
    device.control(1, "device", "pong", "0101")
    device.command(1, 30)
    device.state(1, 30)
    device.opened(2)
    device.greet(2, "playback")
    device.goodbye(1)
    device.state(2)
    device.ended(1)
    device.opened(3)
    device.greet(3)
    device.goodbye(3)
    device.ended(3)
    device.closed_in_order(2)
    device.wire.opened(4).wait(5.0)
    device.ended(4)
    device.opened(5)
    device.wire.wait(30.0)
    device.goodbye(5)
    device.ended(5)


def broken_1(device):
    device.wire.opened(6).upgraded(6)
    device.state(6)
    device.wire.device(6, "client/hello", **HELLO)


def broken_2(device):
    device.opened(6)
    device.time(6, answered=False)
    device.greet(6)
    device.state(6)


def broken_3(device):
    device.served(6)
    device.wire.device(6, "client/hello", **HELLO)


def broken_4(device):
    device.wire.opened(6).upgraded(6).device(6, "client/hello", **{**HELLO, "client_id": "other"})


def broken_5_order(device):
    device.opened(6)
    device.greet(6)
    device.wire.device(6, "client/command", controller={"command": "play"})
    device.state(6)


def broken_5_time(device):
    """What may happen once by a race is the rule of this one."""
    for conn in range(6, 16):
        device.opened(conn)
        device.greet(conn)
        device.time(conn)
        device.state(conn)
        device.closed_in_order(conn)


def broken_5_never(device):
    device.opened(6)
    device.greet(6)
    device.time(6)
    device.time(6)


def broken_5_complete(device):
    device.opened(6)
    device.greet(6)
    device.wire.device(6, "client/state", state="synchronized", player={"muted": False})


def broken_6(device):
    device.served(6, "playback")
    device.served(7)
    device.goodbye(7)
    device.ended(7)


def broken_7(device):
    device.served(6)
    device.time(6)
    device.time(6, later_us=0)


def broken_8_outstanding(device):
    device.served(6)
    device.time(6, answered=False)
    device.time(6)


def broken_8_burst(device):
    device.served(6)
    for _ in range(9):
        device.time(6, later_us=20_000)


def broken_9(device):
    device.served(6)
    device.wire.device(6, "client/command", controller={"for": "server-2"})


def broken_10(device):
    device.served(6)
    device.goodbye(6, "bored")
    device.ended(6)


def broken_11_last(device):
    device.served(6)
    device.goodbye(6, "restart")
    device.state(6)
    device.ended(6)


def broken_11_end(device):
    device.served(6)
    device.goodbye(6, "restart")
    device.wire.wait(6.0).settled()


def broken_12_playback(device):
    device.served(6)
    device.opened(7)
    device.greet(7, "playback")
    device.goodbye(7)
    device.ended(7)


def broken_12_discovery(device):
    device.served(6, "playback")
    device.opened(7)
    device.greet(7)
    device.goodbye(6)
    device.state(7)
    device.ended(6)


def broken_13(device):
    device.served(6)
    device.served(7, "playback")
    device.wire.wait(4.0)
    device.time(6)


def broken_14_greeting(device):
    device.opened(6)
    device.wire.wait(40.0).settled()


def broken_14_upgrade(device):
    device.wire.opened(6).wait(10.0).settled()


def broken_15_ping(device):
    device.served(6)
    device.control(6, "server", "ping", "0606")
    device.control(6, "device", "pong", "0607")
    device.wire.wait(4.0)
    device.time(6)


def broken_15_close(device):
    device.served(6)
    device.control(6, "server", "close", "03e8")
    device.wire.wait(4.0)
    device.time(6)


def broken_16_mask(device):
    device.served(6)
    device.control(6, "device", "pong", "", masked=True)


def broken_16_text(device):
    device.served(6)
    device.control(6, "device", "binary", "04")


def broken_18(device):
    device.served(6)
    device.command(6, 70)
    device.wire.wait(4.0)
    device.time(6)


def broken_19(device):
    device.clock = 1_000_000
    device.served(6)
    device.time(6)


BREAKS: dict[Callable[[Device], None], str] = {
    broken_1: "opening_first",
    broken_2: "silent_before_server_hello",
    broken_3: "opened_once",
    broken_4: "client_id_stable",
    broken_5_order: "state_first",
    broken_5_time: "state_first",
    broken_5_never: "state_first",
    broken_5_complete: "state_first",
    broken_6: "loser_not_told",
    broken_7: "uptime_never_falls",
    broken_8_outstanding: "time_bursts",
    broken_8_burst: "time_bursts",
    broken_9: "no_foreign_frame",
    broken_10: "goodbye_reason_known",
    broken_11_last: "goodbye_last",
    broken_11_end: "goodbye_last",
    broken_12_playback: "handoff_table",
    broken_12_discovery: "handoff_table",
    broken_13: "one_server_at_a_time",
    broken_14_greeting: "unproven_reaped",
    broken_14_upgrade: "unproven_reaped",
    broken_15_ping: "pings_answered",
    broken_15_close: "close_answered",
    broken_16_mask: "frames_framed_right",
    broken_16_text: "frames_framed_right",
    broken_18: "commands_shown",
    broken_19: "uptime_never_falls",
}

JUDGED = sorted(set(BREAKS.values()))


def crying(history):
    verdicts = {name: run_check(check, history) for name, check in all_checks().items()}
    assert not [outcome for outcome in verdicts.values() if outcome.broken]
    return {name for name, outcome in verdicts.items() if outcome.verdict is Verdict.FAIL}


@pytest.mark.parametrize("name", JUDGED)
def test_a_proper_device_passes(wire, name):
    proper(Device(wire))
    outcome = run_check(all_checks()[name], wire.history())
    assert outcome.verdict is Verdict.PASS, outcome.message


def test_about_a_proper_device_no_check_cries(wire):
    proper(Device(wire))
    assert crying(wire.history()) == set()


@pytest.mark.parametrize(
    ("breaks", "name"), BREAKS.items(), ids=lambda x: getattr(x, "__name__", x)
)
def test_one_broken_invariant_is_named_by_its_check_alone(wire, breaks, name):
    device = Device(wire)
    proper(device)
    breaks(device)
    assert crying(wire.history()) == {name}


def overtaken(device, conn):
    device.opened(conn)
    device.greet(conn)
    device.time(conn)
    device.state(conn)


def test_a_state_that_a_time_message_overtakes_once_is_a_race_and_no_broken_rule(wire):
    device = Device(wire)
    proper(device)
    overtaken(device, 6)
    assert crying(wire.history()) == set()


def test_one_that_is_overtaken_with_no_other_to_compare_decides_nothing(wire):
    overtaken(Device(wire), 1)
    outcome = run_check(all_checks()["state_first"], wire.history())
    assert outcome.verdict is Verdict.INCONCLUSIVE


def test_a_state_lost_to_a_drop_behind_an_overtaking_time_message_is_not_owed(wire):
    device = Device(wire)
    proper(device)
    device.opened(6)
    device.greet(6)
    device.time(6)
    wire.fault_seen().closed(6)
    assert "state_first" not in crying(wire.history())


@pytest.mark.parametrize("name", JUDGED)
def test_where_nothing_was_said_no_check_decides(wire, name):
    wire.opened(1).closed(1)
    assert run_check(all_checks()[name], wire.history()).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "breaks",
    [broken_11_end, broken_13, broken_14_greeting, broken_15_ping, broken_18],
    ids=lambda each: each.__name__,
)
def test_nothing_is_owed_in_time_under_a_fault(wire, breaks):
    device = Device(wire)
    wire.fault_seen()
    breaks(device)
    assert crying(wire.history()) - {"served_again"} == set()


@pytest.mark.parametrize(
    ("breaks", "name"), [(broken_6, "loser_not_told"), (broken_14_greeting, "unproven_reaped")]
)
def test_a_version_that_is_not_known_to_promise_it_is_not_judged(wire, monkeypatch, breaks, name):
    monkeypatch.setitem(HELLO, "device_info", {})
    breaks(Device(wire))
    outcome = run_check(all_checks()[name], wire.history())
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "v0.7.0" in outcome.message
