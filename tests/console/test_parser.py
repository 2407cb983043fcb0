"""The whole console parser: one stream of bytes, one stream of events."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.console.parser import FOLD, ConsoleParser
from rig.console.records import read
from rig.history import Event
from rig.history.events import BoardWarned, Crash, CrashBegan, LogLine

LINES = [
    b"ets Jul 29 2019 12:21:46",
    b"ESP-ROM:esp32c3-api1-20210207",
    b"rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)",
    b"invalid header: 0xffffffff",
    b"\x1b[0;32mI (201) app_init: Project name:     speaker\x1b[0m",
    b"I (220) app_init: ESP-IDF:          v5.5.4",
    b"D (900) sendspin.ws_server: New client connection on socket 57",
    b"D (901) sendspin.ws_server: Client closed connection on socket 57",
    b"[D][esp-idf:000][httpd]: W (77) httpd_txrx: httpd_sock_err: error in recv : 11",
    b"Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.",
    b"MEPC    : 0x4200a5b2  RA      : 0x4200a59e  SP      : 0x3fc94f80  GP      : 0x3fc8c200",
    b"abort() was called at PC 0x401ca657 on core 0",
    b"ELF file SHA256: ab81a733d",
    b"Rebooting...",
    b"",
]
ENDS = [b"\n", b"\r\n", b"\r", b"\r\r\n"]
STREAM = st.lists(
    st.tuples(st.sampled_from(LINES) | st.binary(max_size=20), st.sampled_from(ENDS)).map(b"".join),
    max_size=25,
).map(b"".join)


def parse(*chunks: bytes) -> list[Event]:
    parser = ConsoleParser("b")
    events = [event for chunk in chunks for event in parser.feed(chunk, 1)]
    return events + parser.flush(1)


def texts(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.text, event.repeats) for event in events if isinstance(event, LogLine)]


def test_a_line_becomes_a_complete_event() -> None:
    assert parse(b"\r\n\x1b[0;33mW (7) wifi: slow\x1b[0m\r\n") == [
        LogLine(
            t=1,
            board="b",
            text="W (7) wifi: slow",
            line=2,
            offset=2,
            level="W",
            component="wifi",
            message="slow",
            device_ms=7,
        )
    ]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=9)
RAW = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "\x1b[0;32m", "\x1b[1;31m", "[0;32m", "\\x1b[0m", "12:00:01.000 > "]),
    st.sampled_from(["I (7) wifi:", "E (8) a.b: ", "[D][a.b:12]: ", "[C][esp-idf:000][t]: ", "x "])
    | TEXT,
    st.sampled_from(["", "I (9) inner: ", "[0m", "a [b] (c) d: e"]) | TEXT,
    st.sampled_from(["", "\x1b[0m", "\x1b[0m ", "  ", "[0m"]),
)


@given(RAW)
def test_the_quick_way_reads_a_line_as_the_thorough_one_does(raw: str) -> None:
    lines = [event for event in parse(raw.encode() + b"\n") if isinstance(event, LogLine)]
    wanted = read(raw)
    assert [line.text for line in lines] == ([wanted.text] if wanted.text else [])
    for line in lines:
        fields = (line.level, line.component, line.message, line.device_ms, line.day_ms, line.task)
        assert fields == wanted[1:]


def test_blank_lines_make_no_event() -> None:
    assert parse(b"\r\n\n\x1b[0m\n") == []


def test_a_flood_of_one_line_is_two_events() -> None:
    assert texts(parse(b"hello\r\n" * 500, b"next\n")) == [
        ("hello", 1),
        ("hello", 499),
        ("next", 1),
    ]


def test_a_flood_that_is_a_failed_boot_is_warned_of_once() -> None:
    events = parse(b"invalid header: 0xffffffff\r\n" * 500)
    assert [event.warning for event in events if isinstance(event, BoardWarned)] == ["boot_failure"]
    assert sum(repeats for _, repeats in texts(events)) == 500
    assert len(events) == 4


PANIC = (
    b"I (900) main: alive\r\n"
    b"Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.\r\n"
    b"\r\nCore  0 register dump:\r\n"
    b"MEPC    : 0x4200a5b2  RA      : 0x4200a59e  SP      : 0x3fc94f80  GP      : 0x3fc8c200\r\n"
    b"MTVAL   : 0xfefefefe\r\n\r\nRebooting...\r\n"
    b"ESP-ROM:esp32c3-api1-20210207\r\nrst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST)\r\n"
)


def test_a_crash_begins_at_its_first_line_and_is_complete_at_the_next_boot() -> None:
    parser = ConsoleParser("b")
    first, rest = PANIC[: PANIC.index(b"\r\n\r\nCore") + 2], PANIC[PANIC.index(b"\r\nCore") :]
    began = parser.feed(first, 1)[-1]
    assert isinstance(began, CrashBegan)
    assert (began.crash, began.kind, began.line) == (1, "panic", 2)
    assert parser.crashing
    (crash,) = (event for event in parser.feed(rest, 2) if isinstance(event, Crash))
    assert (crash.crash, crash.record.pc, crash.record.before) == (
        1,
        "0x4200a5b2",
        ("I (900) main: alive",),
    )
    assert not parser.crashing


def test_crashes_are_numbered_on_a_console() -> None:
    events = parse(PANIC * 3)
    assert [event.crash for event in events if isinstance(event, CrashBegan)] == [1, 2, 3]
    assert [event.crash for event in events if isinstance(event, Crash)] == [1, 2, 3]


def test_a_crash_stays_open_while_the_port_is_silent_for_a_moment() -> None:
    parser = ConsoleParser("b")
    parser.feed(PANIC[: PANIC.index(b"Rebooting")], 1)
    assert not any(isinstance(event, Crash) for event in parser.settle(2))
    assert any(isinstance(event, Crash) for event in parser.flush(3))


@pytest.mark.parametrize(
    "told", [LINES[9], LINES[11], LINES[6], b"rst:0xc (RTC_SW_CPU_RST),boot:0x8 (X)"]
)
def test_a_blank_line_repeats_nothing(told: bytes) -> None:
    events = parse(b"I (1) app: up\n" + told + b"\n\n\nI (2) app: on\n")
    lines = [event for event in events if isinstance(event, LogLine)]
    assert [line.line for line in lines] == [1, 2, 5]


def test_an_endless_flood_still_shows_now_and_then() -> None:
    parser = ConsoleParser("b")
    events = parser.feed(b"x\n" * (2 * FOLD + 5), 1)
    assert texts(events) == [("x", 1), ("x", FOLD), ("x", FOLD)]
    assert texts(parser.flush(2)) == [("x", 4)]


def test_a_folded_flood_tells_where_it_began_and_when_it_ended() -> None:
    parser = ConsoleParser("b")
    parser.feed(b"a\nx\nx\n", 1)
    parser.feed(b"x\n", 2)
    (event,) = parser.flush(3)
    assert isinstance(event, LogLine)
    assert (event.line, event.offset, event.t, event.repeats) == (3, 4, 2, 2)


def test_a_line_that_means_something_is_never_folded() -> None:
    line = b"D (900) sendspin.ws_server: New client connection on socket 57\n"
    assert [event.tag for event in parse(line * 3)] == ["log_line", "socket_seen"] * 3


def test_a_torn_line_is_given_out_when_the_port_falls_silent() -> None:
    parser = ConsoleParser("b")
    assert parser.feed(b"esp> ", 1) == []
    assert parser.pending
    assert texts(parser.flush(2)) == [("esp> ", 1)]
    assert not parser.pending


@given(STREAM, st.lists(st.integers(0, 5_000), max_size=10))
def test_the_chunking_changes_no_event(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges)]
    assert parse(*chunks) == parse(data)


@given(st.lists(st.text("ab (", max_size=3), max_size=40))
def test_every_line_is_accounted_for_in_order(lines: list[str]) -> None:
    events = texts(parse("".join(line + "\n" for line in lines).encode()))
    unfolded = [text for text, repeats in events for _ in range(repeats)]
    assert unfolded == [line for line in lines if line]


@given(st.binary(max_size=2_000))
def test_no_noise_is_too_strange(data: bytes) -> None:
    assert all(event.t == 1 for event in parse(data))


def test_memory_does_not_grow_with_the_log() -> None:
    parser = ConsoleParser("b")
    block = b"".join(line + b"\r\n" for line in LINES) + b"\xff\xfe\0noise" * 50
    sizes = []
    tracemalloc.start()
    for _ in range(4):
        for _ in range(50):
            parser.feed(block, 1)
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[3] - sizes[1] < 100 * len(block) / 5
