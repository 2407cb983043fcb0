"""One line of text to a log record, in every format that carries one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.console.records import Record, read, strip_colours


def fields(text: str) -> tuple[str | None, str | None, str | None, int | None]:
    record = read(text)
    return record.level, record.component, record.message, record.device_ms


def test_an_esp_idf_line_gives_level_tag_message_and_milliseconds() -> None:
    assert fields("I (1234) sendspin.conn_mgr: Current connection lost") == (
        "I",
        "sendspin.conn_mgr",
        "Current connection lost",
        1234,
    )


def test_the_wifi_library_puts_no_space_behind_its_tag() -> None:
    assert fields("I (573) wifi:state: init -> auth (b0)") == (
        "I",
        "wifi",
        "state: init -> auth (b0)",
        573,
    )


def test_system_time_is_kept_apart_from_the_time_since_boot() -> None:
    record = read("W (12:34:56.789) wifi: slow")
    assert (record.component, record.device_ms, record.day_ms) == ("wifi", None, 45_296_789)


@pytest.mark.parametrize(
    ("outer", "level"), [("E", "E"), ("C", "I"), ("D", "D"), ("VV", "V"), ("V", "V")]
)
def test_an_esphome_line_gives_component_and_level(outer: str, level: str) -> None:
    assert fields(f"[{outer}][sensor:094]: 'Room': 23 °C") == (
        level,
        "sensor",
        "'Room': 23 °C",
        None,
    )


def test_of_an_esp_idf_line_wrapped_by_esphome_the_inner_one_counts() -> None:
    text = "[D][esp-idf:000][httpd]: I (6761115) sendspin.conn_mgr: Handoff decision: keep"
    assert read(text) == Record(
        text, "I", "sendspin.conn_mgr", "Handoff decision: keep", 6_761_115, None, "httpd"
    )


def test_an_arduino_line_gives_its_file_as_component() -> None:
    assert fields("[ 29135][E][WiFiClient.cpp:347] connect(): on fd 49") == (
        "E",
        "WiFiClient.cpp",
        "connect(): on fd 49",
        29135,
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "[12:34:26]",
        "[12:34:26.123]",
        "> ",
        "12:34:26.123 -> ",
        "12:34:26.123 > ",
        "2024-05-01T12:34:26.123Z ",
        "> [12:34:26] ",
    ],
)
@pytest.mark.parametrize(
    "line", ["I (12) wifi: connected", "[I][wifi:012]: connected", "[ 12][I][wifi:347] connected"]
)
def test_the_prefix_of_a_log_host_is_read_through(prefix: str, line: str) -> None:
    level, component, message, _ = fields(prefix + line)
    assert (level, component, message) == ("I", "wifi", "connected")


@pytest.mark.parametrize(
    ("on", "off"),
    [
        ("\x1b[0;32m", "\x1b[0m"),
        ("\\x1b[0;32m", "\\x1b[0m"),
        ("\\033[0;32m", "\\033[0m"),
        ("\\e[0;32m", "\\e[0m"),
        ("␛[0;32m", "␛[0m"),
        ("^[[0;32m", "^[[0m"),
        ("[0;32m", "[0m"),
        ("[1;31m", "[0m"),
    ],
)
def test_colours_are_stripped_in_every_spelling(on: str, off: str) -> None:
    assert read(f"{on}I (12) wifi: connected{off}") == Record(
        "I (12) wifi: connected", "I", "wifi", "connected", 12
    )


@pytest.mark.parametrize("text", ["array[0] = 1", "a [5m] cable", "m[0;3] done", "list[10;m"])
def test_brackets_that_are_no_colour_stay(text: str) -> None:
    assert strip_colours(text) == text


def test_a_record_behind_noise_is_found() -> None:
    assert fields("\ufffd\ufffd~I (24) boot: compile time") == ("I", "boot", "compile time", 24)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Rebooting...",
        "I think (12) of: them",
        "WiFI (12) no: record",
        "rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)",
        "PC      : 0x400d1234  PS      : 0x00060030",
    ],
)
def test_what_is_no_record_is_only_text(text: str) -> None:
    assert read(text) == Record(text)


@given(st.text(max_size=300) | st.text("[]()EWIDV:0123456789. m;\x1b", max_size=300))
def test_no_text_is_too_strange(text: str) -> None:
    record = read(text)
    assert record.level in (None, "E", "W", "I", "D", "V")
    assert len(record.text) <= len(text)
