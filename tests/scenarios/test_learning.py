"""The device is learned by using it in order, and what was learned is in the history."""

from __future__ import annotations

import pytest

from rig.errors import ServerError
from rig.history.events import Learned
from rig.scenarios import learning
from rig.scenarios.learning import learn, own_messages

pytestmark = pytest.mark.anyio


async def test_the_hello_delay_is_measured(played, speaker):
    speaker.hello_delay = 0.12
    device = await learn(played.stage)
    assert 0.11 <= device.hello_delay <= 1.0
    assert len(device.hello_delays) == learning.TRIES


async def test_a_device_that_greets_at_once_has_no_delay_below_zero(played):
    assert 0 <= (await learn(played.stage)).hello_delay < 0.1


async def test_sessions_are_counted_until_the_device_refuses(played, speaker):
    speaker.room = 3
    assert (await learn(played.stage)).sessions == 3


async def test_what_was_learned_is_recorded(played):
    await learn(played.stage)
    assert {event.name for event in played.of(Learned)} == {
        "noise",
        "hello_delay",
        "turn",
        "step",
        "sessions",
        "tells_sockets",
    }


async def test_a_device_that_never_greets_is_no_device_to_learn(played, speaker, monkeypatch):
    speaker.greets = False
    monkeypatch.setattr(learning, "_PATIENCE_S", 0.1)
    with pytest.raises(ServerError, match="did not complete its opening"):
        await learn(played.stage)


async def test_a_device_that_talks_by_itself_is_waited_for(played, speaker):
    speaker.clock_starts = 0.3
    assert await own_messages(played.stage)
    assert [event.value for event in played.of(Learned) if event.name == "own_messages"] == [1.0]


async def test_one_that_never_talks_by_itself_is_not_waited_for_for_ever(played, monkeypatch):
    monkeypatch.setattr(learning, "OWN_MESSAGES_S", 0.05)
    assert not await own_messages(played.stage)
