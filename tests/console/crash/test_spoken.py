"""The words of a crash in prose, source code and tables: no crash, unless its body follows."""

from __future__ import annotations

import pytest

from rig.console.crash import Began, CrashEvent, CrashReader, Finished

SPOKEN = [
    'The error "Guru Meditation Error: Core 1 panic\'ed (LoadProhibited)" points at a null one.',
    "Since Friday I get Guru Meditation Error: Core 1 panic'ed (LoadProhibited) on each start",
    "// Guru Meditation Error: Core  0 panic'ed (IllegalInstruction). Exception was unhandled.",
    "# Guru Meditation Error: Core  0 panic'ed (IllegalInstruction)",
    'printf("Guru Meditation Error: Core %d panic\'ed (%s)\\n", core, reason);',
    'ESP_LOGE(TAG, "assert failed: %s", expression);',
    'panic_print_str("***ERROR*** A stack overflow in task ");',
    "* the note `***ERROR*** A stack overflow in task pump has been detected.` comes from a hook",
    "- fixes Stack canary watchpoint triggered (pump) with long requests",
    "| Stack canary watchpoint triggered | give the task more stack |",
    "- `CORRUPT HEAP:` tells of a buffer that was overrun",
    "we have never seen Brownout detector was triggered",
    "| `Brownout detector was triggered` | a weak supply |",
    "usage: terminate called without arguments ends all sessions",
]


def events(*lines: str) -> list[CrashEvent]:
    reader = CrashReader()
    told = [event for n, line in enumerate(lines, 1) for event in reader.feed(n, line)]
    return [*told, *reader.flush()]


@pytest.mark.parametrize("line", SPOKEN)
def test_a_crash_that_is_spoken_of_is_none(line: str) -> None:
    assert events(line, "More is said of it here.", "I (812) app: ready") == []


@pytest.mark.parametrize("body", ["Core  1 register dump:", "Backtrace: 0x400d1234:0x3ffb0010"])
def test_a_crash_that_is_spoken_of_is_one_where_its_body_follows(body: str) -> None:
    head = "and so I get Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception"
    row = "PC      : 0x400d1234  PS      : 0x00060030  A0      : 0x800d1000  A1      : 0x3ffb0010"
    began, finished = events(head, body, row)
    assert isinstance(began, Began)
    assert isinstance(finished, Finished)
    assert (finished.record.line, finished.record.reason) == (1, "LoadProhibited")


def test_what_is_said_of_a_crash_does_not_take_its_place() -> None:
    told = events(
        "Help, I get Guru Meditation Error: Core  1 panic'ed (LoadProhibited) again and again",
        "What it prints:",
        "Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.",
    )
    assert [e.record.line for e in told if isinstance(e, Finished)] == [3]


@pytest.mark.parametrize("end", [["Rebooting..."], ["", "I (9) app: 1", "I (9) app: 2"], []])
def test_what_is_said_of_a_crash_after_it_is_no_second_one(end: list[str]) -> None:
    told = events(
        "Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.",
        "Backtrace: 0x400d1234:0x3ffb0010 0x400d1238:0x3ffb0030",
        *end,
        "Since Friday I get Guru Meditation Error: Core 1 panic'ed (LoadProhibited) on each start",
        "More is said of it here.",
    )
    assert [e.record.line for e in told if isinstance(e, Finished)] == [1]


@pytest.mark.parametrize(
    "line",
    [
        "Connecting to the station ....Brownout detector was triggered",
        '{"log":"Brownout detector was triggered\\n","stream":"stdout"}',
        "12:00:01 RX b'Brownout detector was triggered\\r\\n'",
        '2026-01-05 12:00:01,bench,"Brownout detector was triggered"',
        "`Brownout detector was triggered",
        "<span>Brownout detector was triggered</span><br>",
    ],
)
def test_a_host_that_wraps_a_line_does_not_speak_of_it(line: str) -> None:
    (finished,) = [e for e in events(line) if isinstance(e, Finished)]
    assert finished.record.kind == "brownout"
