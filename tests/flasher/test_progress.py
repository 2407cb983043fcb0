"""What people see while it flashes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from firmware_flasher.messages import (
    ChipFound,
    ChipInfo,
    Connecting,
    Erasing,
    Event,
    Interrupted,
    Log,
    Reading,
    Retrying,
    Skipped,
    StubRunning,
    Verified,
    Writing,
)
from firmware_flasher.progress import Bar, Display, line_of, progress_bars

HERE = (2, 3, "app.bin", 0x10000)


def shown(*events: Event, terminal: bool = False, verbose: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=terminal, soft_wrap=True, highlight=False, color_system=None
    )
    with Display(console, verbose=verbose) as display:
        for event in events:
            display(event)
    return out.getvalue()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Connecting(1, 115_200), "connecting at 115200 baud"),
        (Connecting(2, 115_200), "connecting at 115200 baud, attempt 2"),
        (
            ChipFound(ChipInfo("esp32c3", "ESP32-C3", "v0.4", "f4:12", None, True)),
            "found ESP32-C3, MAC f4:12, a stub was left running",
        ),
        (StubRunning(921_600), "stub loader runs, 921600 baud"),
        (Erasing(0, None), "erasing all of the flash"),
        (Erasing(0x8000, 0x1000), "erasing 0x1000 bytes at 0x8000"),
        (Skipped(*HERE, 10), "[2/3] app.bin at 0x10000: unchanged, left alone"),
        (Verified(*HERE, 10), "[2/3] app.bin at 0x10000: verified"),
        (Retrying(1, "No serial data received.", 460_800), "Once more at 460800 baud"),
    ],
)
def test_an_event_reads_like_a_sentence(event: Event, line: str) -> None:
    assert line in (line_of(event) or "")


def test_a_pipe_gets_a_line_each_quarter_and_no_more() -> None:
    text = shown(*(Writing(*HERE, done, 1000) for done in range(0, 1001, 10)))

    assert [line.split("writing ")[1] for line in text.splitlines()] == [
        f"{done} of 1000 bytes" for done in (250, 500, 750, 1000)
    ]


def test_each_region_has_its_own_quarters() -> None:
    text = shown(
        Writing(1, 2, "a.bin", 0, 10, 10), Writing(2, 2, "b.bin", 4096, 10, 10), Reading(0, 5, 5)
    )

    assert len(text.splitlines()) == 3


def test_a_terminal_gets_a_bar_and_no_such_lines() -> None:
    text = shown(Writing(*HERE, 500, 1000), Writing(*HERE, 1000, 1000), terminal=True)

    assert "of 1000 bytes" not in text
    assert "━" in text


def test_esptools_words_are_shown_on_request_and_warnings_always() -> None:
    words = (Log("Uploading stub"), Log("the flash chip is odd", "warning"))

    assert shown(*words) == "esptool: the flash chip is odd\n"
    assert "Uploading stub" in shown(*words, verbose=True)


def test_square_brackets_from_a_file_name_are_no_markup() -> None:
    assert "[red]x.bin" in shown(Verified(1, 1, "[red]x.bin", 0, 1))


def test_several_boards_have_a_bar_each_that_ends_full() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None)
    bars = progress_bars(console)
    assert bars is not None
    kitchen, hall = (Bar(console, bars, name, 1000) for name in ("kitchen", "hall"))

    kitchen(Skipped(1, 2, "loader.bin", 0, 400))
    kitchen(Writing(2, 2, "app.bin", 0x10000, 300, 600))
    halfway = [task.completed for task in bars.tasks]
    kitchen(Retrying(1, "Frames broke.", 115_200))
    kitchen(Writing(2, 2, "app.bin", 0x10000, 0, 600))
    kitchen(Verified(2, 2, "app.bin", 0x10000, 600))
    hall(Connecting(1, 115_200))

    assert halfway == [700, 0]
    assert [task.completed for task in bars.tasks] == [1000, 0]
    assert "hall: connecting" in str(bars.tasks[1].description)


def test_of_several_boards_only_what_is_out_of_the_ordinary_gets_a_line() -> None:
    out = io.StringIO()
    console = Console(file=out, color_system=None)
    bar = Bar(console, progress_bars(console), "kitchen", 10)

    for event in (
        Connecting(1, 115_200),
        Writing(1, 1, "a", 0, 5, 10),
        Log("chatter"),
        Log("[odd]", "warning"),
        Interrupted("speaker v1", 0.0),
    ):
        bar(event)

    lines = out.getvalue().splitlines()
    assert lines[0] == "kitchen: esptool: [odd]"
    assert "speaker v1, begun 1970-01-01" in lines[1]
    assert len([line for line in lines if line.startswith("kitchen")]) == 2
