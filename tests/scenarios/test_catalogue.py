"""Each scenario, played once on a device that has no bugs: its faults are asked and seen."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from rig.errors import FaultError
from rig.history.events import FaultAsked, FaultSeen, Frame, Held, UpgradeAnswered
from rig.scenarios import Lacking, get_scenario, learning, queue_full

pytestmark = pytest.mark.anyio


def counts(events: list) -> set[str]:
    return {event.fault for event in events}


@pytest.mark.parametrize("name", ["baseline", "rst-anywhere", "close-storm", "drop-queued"])
async def test_every_fault_that_a_scenario_declares_is_asked_and_seen(played, name):
    scenario = get_scenario(name)
    await scenario.play(played.stage)
    assert counts(played.of(FaultAsked)) == set(scenario.faults)
    assert counts(played.of(FaultSeen)) == set(scenario.faults)


async def test_two_servers_are_both_held_and_both_greeted(played, speaker):
    speaker.hello_delay = 0.1
    played.stage.device = replace(played.stage.device, hello_delays=(0.1,))
    await get_scenario("two-servers").play(played.stage)
    hellos = [frame.conn for frame in played.of(Frame) if frame.type == "client/hello"]
    assert {event.conn for event in played.of(Held)} == set(hellos)
    assert len(played.of(UpgradeAnswered)) == 4


async def test_queue_full_lacks_a_way_to_make_the_device_talk(played):
    with pytest.raises(Lacking, match="talk = "):
        await get_scenario("queue-full").play(played.stage)
    assert played.of(FaultAsked) == []


@pytest.mark.parametrize("name", ["two-servers", "drop-queued", "recycle-fd"])
async def test_a_device_of_one_session_lacks_a_second(played, name):
    played.stage.device = replace(played.stage.device, sessions=1)
    with pytest.raises(Lacking, match="two are needed"):
        await get_scenario(name).play(played.stage)


async def test_a_storm_is_the_same_for_the_same_seed(played):
    await get_scenario("close-storm").play(played.stage)
    (asked,) = played.of(FaultAsked)
    played.stage.rng.seed(1)
    await get_scenario("close-storm").play(played.stage)
    assert played.of(FaultAsked)[1].params == asked.params


@pytest.mark.parametrize("name", ["drop-queued", "recycle-fd"])
async def test_what_the_recipes_want_in_the_queue_goes_out_in_one_piece_with_the_stall(
    played, name, monkeypatch
):
    monkeypatch.setattr(learning, "OWN_MESSAGES_S", 0.2)  # the double has none of its own
    scenario = get_scenario(name)
    assert scenario.own_messages
    with contextlib.suppress(FaultError, Lacking, TimeoutError):  # the rest is no matter here
        async with asyncio.timeout(5):
            await scenario.play(played.stage)
    stalled = next(event for event in played.of(FaultAsked) if event.fault == "stall")
    sent = [
        frame
        for frame in played.of(Frame)
        if frame.sender == "server" and frame.conn == stalled.conn and frame.t >= stalled.t
    ]
    assert [frame.type for frame in sent[:2]] == ["server/hello", "server/command"]


async def test_a_hello_that_was_queued_before_the_mailbox_was_full_is_no_lost_one(
    played, speaker, monkeypatch
):
    speaker.can_talk, speaker.hello_delay = True, 0.06
    played.stage.device = replace(played.stage.device, hello_delays=(0.2,))
    fills = speaker.talk

    async def late(count: int) -> bool:
        await asyncio.sleep(0.12)
        return await fills(count)

    monkeypatch.setattr(speaker, "talk", late)
    monkeypatch.setattr(queue_full, "TRIES", 1)
    monkeypatch.setattr(queue_full, "QUIET_S", 0.1)
    with pytest.raises(Lacking, match="talk takes"):
        await get_scenario("queue-full").play(played.stage)
