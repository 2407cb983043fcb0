"""What is no WebSocket, and what is no message of the protocol."""

from __future__ import annotations

import pytest

from rig.checks import Verdict, get_check
from rig.checks.stretch import run_check
from rig.history import events as ev


def judged(wire, name):
    return run_check(get_check(name), wire.history())


@pytest.mark.parametrize(
    ("sender", "text", "verdict"),
    [
        ("device", "a text message is not UTF-8: invalid start byte at byte 3", Verdict.FAIL),
        ("device", "a Close frame with the code 1005, which none may send", Verdict.FAIL),
        ("device", "ended inside a frame", Verdict.PASS),
        ("server", "a text message is not UTF-8: invalid start byte at byte 3", Verdict.PASS),
    ],
)
def test_what_the_parser_says_of_the_device_is_a_finding(wire, sender, text, verdict):
    wire.greeted(1).add(ev.WireError, conn=1, sender=sender, text=text)
    told = judged(wire, "speaks_websocket")
    assert told.verdict is verdict
    assert verdict is Verdict.PASS or text in told.message


def test_of_a_silent_device_nothing_is_said(wire):
    wire.opened(1).upgraded(1)
    assert judged(wire, "speaks_websocket").verdict is Verdict.INCONCLUSIVE
    assert judged(wire, "messages_known").verdict is Verdict.INCONCLUSIVE


def _text(wire, message, text="x" * 9):
    kind = message.get("type") if isinstance(message, dict) else None
    return wire.add(
        ev.Frame,
        conn=1,
        sender="device",
        opcode="text",
        size=9,
        text=text,
        type=kind if isinstance(kind, str) else None,
        message=message,
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (None, "no JSON object"),
        ({"type": 7}, "its type is 7"),
        ({"type": "client/time", "payload": [1]}, "its payload is [1]"),
        ({"type": "client/dance", "payload": {}}, "no device of the legacy generation sends it"),
        ({"type": "server/time", "payload": {}}, "no device of the legacy generation sends it"),
    ],
)
def test_a_message_that_is_none_is_named(wire, message, words):
    told = judged(_text(wire.greeted(1), message), "messages_known")
    assert told.verdict is Verdict.FAIL
    assert words in told.message


def test_known_messages_pass_and_what_crossed_in_part_is_not_judged(wire):
    _text(wire.greeted(1), {"type": "client/goodbye"})
    _text(wire, None, text="x" * 4)
    assert judged(wire, "messages_known").verdict is Verdict.PASS
