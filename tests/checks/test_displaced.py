"""Who is sent away is told so, and who played last is kept."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from rig.checks import Verdict, get_check
from rig.checks.stretch import run_check


def served(wire, conn, server_id=None, reason="discovery"):
    wire.opened(conn).upgraded(conn).hello(conn)
    wire.server(
        conn,
        "server/hello",
        server_id=server_id or f"server-{conn}",
        name="n",
        version=1,
        active_roles=[],
        connection_reason=reason,
    )
    return wire


def established(wire, conn, server_id=None, reason="discovery"):
    return served(wire, conn, server_id, reason).device(conn, "client/state")


def sealed(wire, conn, sender, kind, **payload):
    wire.frame(conn, sender, kind, payload)
    wire.events[-1] = replace(wire.events[-1], sealed=1)
    return wire


def activated(wire, conn, server_id, *activities):
    """A noise connection, up to its first server/activate."""
    wire.opened(conn).upgraded(conn).device(conn, "client/init", client_id="k" * 43, version=1)
    wire.server(conn, "server/init", server_id=server_id, version=1)
    wire.device(conn, "noise/handshake")
    sealed(wire, conn, "device", "client/hello", name="n")
    return active(wire, conn, *activities)


def active(wire, conn, *activities):
    return sealed(
        wire, conn, "server", "server/activate", activities=[*activities], active_roles=["p"]
    )


def in_use(wire, conn, server_id, *activities):
    activated(wire, conn, server_id, *activities)
    return sealed(wire, conn, "device", "client/state", available=True)


def turned_away(wire, conn, reason):
    sealed(wire, conn, "device", "client/goodbye", reason=reason)
    return wire.fin(conn, "device").fin(conn, "server").closed(conn)


def sent_away(wire, conn, reason="another_server"):
    wire.device(conn, "client/goodbye", reason=reason)
    return wire.fin(conn, "device").fin(conn, "server").closed(conn)


def left(wire, conn):
    return wire.fin(conn, "server").fin(conn, "device").closed(conn)


def playing(wire, conn):
    return wire.server(conn, "group/update", playback_state="playing")


def judged(wire, name):
    return run_check(get_check(name), wire.history())


def test_a_server_that_is_told_so_goes_in_order(wire):
    established(wire, 1)
    established(wire, 2, reason="playback")
    sent_away(wire, 1)
    assert judged(wire, "displaced_told").verdict is Verdict.PASS


def test_a_server_that_is_cut_off_for_another_one_was_not_told(wire):
    established(wire, 1)
    established(wire, 2, reason="playback")
    wire.fin(1, "device").fin(1, "server").closed(1)
    told = judged(wire, "displaced_told")
    assert told.verdict is Verdict.FAIL
    assert "connection 1" in told.message


def test_another_reason_is_the_wrong_one(wire):
    established(wire, 1)
    established(wire, 2, reason="playback")
    sent_away(wire, 1, reason="shutdown")
    assert judged(wire, "displaced_told").verdict is Verdict.FAIL


@pytest.mark.parametrize("how", ["alone", "server ended", "disturbed", "closed by the server"])
def test_an_end_that_is_no_displacement_is_not_judged(wire, how):
    established(wire, 1)
    if how != "alone":
        established(wire, 2)
    if how == "server ended":
        wire.fin(1, "server")
    if how == "disturbed":
        wire.fault_seen()
    if how == "closed by the server":
        wire.frame(1, "server", "x", {})
        wire.events[-1] = type(wire.events[-1])(
            t=wire.now, conn=1, sender="server", opcode="close", size=2
        )
    wire.fin(1, "device").fin(1, "server").closed(1)
    assert judged(wire, "displaced_told").verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("boot", [False, True])
@pytest.mark.parametrize("remembered", [True, False])
def test_who_played_last_takes_over_again(wire, boot, remembered):
    left(playing(established(wire, 1, "radio"), 1), 1)
    wire.settled()
    if boot:
        wire.reset_asked().boot().settled()
    established(wire, 2, "stranger")
    served(wire, 3, "radio")
    sent_away(wire, 2 if remembered else 3)
    told = judged(wire, "last_played_kept")
    assert told.verdict is (Verdict.PASS if remembered else Verdict.FAIL)


@pytest.mark.parametrize("kept", [True, False])
def test_a_stranger_does_not_displace_who_played_last(wire, kept):
    playing(established(wire, 1, "radio"), 1)
    served(wire, 2, "stranger")
    sent_away(wire, 2 if kept else 1)
    told = judged(wire, "last_played_kept")
    assert told.verdict is (Verdict.PASS if kept else Verdict.FAIL)


def test_playback_is_another_rule(wire):
    playing(established(wire, 1, "radio"), 1)
    served(wire, 2, "stranger", reason="playback")
    sent_away(wire, 1)
    assert judged(wire, "last_played_kept").verdict is Verdict.INCONCLUSIVE


def test_what_was_before_the_history_is_not_guessed(wire):
    established(wire, 1, "a")
    served(wire, 2, "b")
    sent_away(wire, 1)
    assert judged(wire, "last_played_kept").verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("reason", ["concurrent_attempt", "another_server"])
def test_a_noise_device_turns_a_newcomer_away_with_a_word_of_its_own(wire, reason):
    in_use(wire, 1, "radio")
    activated(wire, 2, "stranger")
    turned_away(wire, 2, reason)
    assert judged(wire, "displaced_told").verdict is Verdict.PASS


def test_a_noise_device_that_gives_another_reason_gives_the_wrong_one(wire):
    in_use(wire, 1, "radio")
    activated(wire, 2, "stranger")
    turned_away(wire, 2, "restart")
    assert judged(wire, "displaced_told").verdict is Verdict.FAIL


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("how", ["escalated", "from the start"])
def test_a_noise_device_remembers_who_was_active_last(wire, remembered, how):
    if how == "escalated":
        active(active(in_use(wire, 1, "radio"), 1, "playback"), 1)
    else:
        in_use(wire, 1, "radio", "playback")
    left(wire, 1).settled()
    in_use(wire, 2, "stranger")
    activated(wire, 3, "radio")
    turned_away(wire, 2 if remembered else 3, "another_server")
    told = judged(wire, "last_played_kept")
    assert told.verdict is (Verdict.PASS if remembered else Verdict.FAIL)


def test_a_group_that_plays_makes_no_noise_server_the_last(wire):
    sealed(in_use(wire, 1, "radio"), 1, "server", "group/update", playback_state="playing")
    left(wire, 1).settled()
    in_use(wire, 2, "stranger")
    activated(wire, 3, "radio")
    turned_away(wire, 3, "concurrent_attempt")
    assert judged(wire, "last_played_kept").verdict is Verdict.INCONCLUSIVE
