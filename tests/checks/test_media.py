"""What the server plays, judged by id, time stamp and stream."""

import pytest

from rig.checks import Verdict, all_checks
from rig.checks.stretch import run_check
from rig.history import events as ev
from rig.protocol.messages import media


def sent(wire, data):
    wire.add(
        ev.Frame, conn=1, sender="server", opcode="binary", size=len(data), head=data[:32].hex()
    )
    return wire


def crying(wire):
    history = wire.history()
    outcomes = {name: run_check(check, history) for name, check in all_checks().items()}
    return {name for name, outcome in outcomes.items() if outcome.verdict is Verdict.FAIL}


@pytest.fixture
def playing(wire):
    wire.greeted(1).device(1, "client/state").server(1, "stream/start", player={"codec": "pcm"})
    return sent(wire, media(1_000_000, b"\0" * 100))


def test_audio_in_an_active_stream_passes(playing):
    outcome = run_check(all_checks()["media_well_formed"], playing.history())
    assert outcome.verdict is Verdict.PASS


@pytest.mark.parametrize(
    "data",
    [
        media(1, b"x", binary_id=5),
        media(1, b"x", binary_id=12),
        media(1, b"x", binary_id=8),
        media(-1, b"x"),
        b"\x04\0\0",
        b"",
    ],
    ids=["id 5", "id 12", "no artwork stream", "negative time", "short", "empty"],
)
def test_media_that_break_a_rule_are_named_alone(playing, data):
    assert crying(sent(playing, data)) == {"media_well_formed"}


def test_audio_after_the_end_of_the_stream_is_named(playing):
    playing.server(1, "stream/end", roles=["player"])
    assert crying(sent(playing, media(1, b"x"))) == {"media_well_formed"}


def test_sealed_frames_are_not_looked_into(wire):
    sent(wire.opened(1).upgraded(1).device(1, "client/init"), b"sealed")
    outcome = run_check(all_checks()["media_well_formed"], wire.history())
    assert outcome.verdict is Verdict.INCONCLUSIVE


def test_a_server_that_plays_nothing_is_not_judged(wire):
    outcome = run_check(all_checks()["media_well_formed"], wire.greeted(1).history())
    assert outcome.verdict is Verdict.INCONCLUSIVE
