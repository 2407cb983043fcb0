"""A device's controller asks for what is offered, and is told what came of it."""

from __future__ import annotations

import pytest

from rig.checks import Verdict, get_check
from rig.checks.stretch import run_check

OFFERED = ["play", "pause", "next", "volume", "mute", "shuffle", "repeat_all"]
DONE = {
    "play": ({}, "group/update", {"playback_state": "playing"}),
    "pause": ({}, "group/update", {"playback_state": "stopped"}),
    "next": ({}, "server/state", {"metadata": {"title": "other"}}),
    "volume": ({"volume": 31}, "server/state", {"controller": {"volume": 31}}),
    "mute": ({"mute": True}, "server/state", {"controller": {"muted": True}}),
    "shuffle": ({}, "server/state", {"controller": {"shuffle": True}}),
    "repeat_all": ({}, "server/state", {"controller": {"repeat": "all"}}),
}


@pytest.fixture
def offered(wire):
    wire.greeted(1).device(1, "client/state")
    state = {"supported_commands": OFFERED, "volume": 50, "muted": False, "repeat": "off"}
    return wire.server(1, "server/state", controller=state | {"shuffle": False}).wait(2)


def asked(wire, command, **more):
    return wire.device(1, "client/command", controller={"command": command, **more})


def judged(wire):
    return run_check(get_check("controls_heeded"), wire.history())


@pytest.mark.parametrize("command", DONE)
def test_what_was_asked_for_comes_back(offered, command):
    fields, kind, payload = DONE[command]
    asked(offered, command, **fields).server(1, kind, **payload).wait(60).settled()
    told = judged(offered)
    assert told.verdict is Verdict.PASS
    assert told.message.startswith("1 commands")


@pytest.mark.parametrize("command", DONE)
def test_nothing_comes_back(offered, command):
    asked(offered, command, **DONE[command][0]).wait(60).settled()
    told = judged(offered)
    assert told.verdict is Verdict.FAIL
    assert command in told.message


def test_another_volume_comes_back(offered):
    asked(offered, "volume", volume=10)
    offered.server(1, "server/state", controller={"volume": 80}).wait(60).settled()
    assert judged(offered).verdict is Verdict.FAIL


@pytest.mark.parametrize(("told", "verdict"), [(29, Verdict.PASS), (28, Verdict.FAIL)])
def test_a_groups_volume_may_come_back_rounded(offered, told, verdict):
    """It is the mean of its players' whole numbers."""
    asked(offered, "volume", volume=31)
    offered.server(1, "server/state", controller={"volume": told}).wait(60).settled()
    assert judged(offered).verdict is verdict


def test_a_state_that_is_there_already_needs_no_telling(offered):
    asked(offered, "volume", volume=50).wait(60).settled()
    assert judged(offered).verdict is Verdict.PASS


def test_what_was_not_offered_is_the_devices_fault(offered):
    asked(offered, "stop").settled()
    told = judged(offered)
    assert told.verdict is Verdict.FAIL
    assert "'stop', which was not offered" in told.message


def test_an_offer_that_was_just_taken_back_still_counts(offered):
    offered.server(1, "server/state", controller={"supported_commands": []})
    asked(offered, "play").server(1, "group/update", playback_state="playing").settled()
    assert judged(offered).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "payload",
    [{}, {"controller": 7}, {"controller": {}}, {"controller": {"command": ["play"]}}],
)
def test_junk_is_not_judged_here(offered, payload):
    offered.device(1, "client/command", **payload).wait(60).settled()
    assert judged(offered).verdict is Verdict.INCONCLUSIVE


def test_a_server_that_offers_nothing_judges_nobody(wire):
    wire.greeted(1).device(1, "client/state")
    asked(wire, "play").wait(60).settled()
    assert judged(wire).verdict is Verdict.INCONCLUSIVE


def test_under_a_fault_nothing_is_owed(offered):
    asked(offered, "play").fault_seen().wait(60).settled()
    assert judged(offered).verdict is Verdict.INCONCLUSIVE
