"""What the ROM and a starting application print."""

from __future__ import annotations

import pytest

from rig.console.parser import ConsoleParser
from rig.history import Event
from rig.history.events import AppStarted, Boot, LogLine


def events(*lines: str) -> list[Event]:
    parser = ConsoleParser("b")
    found = parser.feed("".join(line + "\r\n" for line in lines).encode(), 7) + parser.flush(8)
    return [event for event in found if not isinstance(event, LogLine)]


ESP32 = "ets Jul 29 2019 12:21:46"
C3 = "ESP-ROM:esp32c3-api1-20210207"


@pytest.mark.parametrize(
    ("rom", "line", "expected"),
    [
        (
            ESP32,
            "rst:0x1 (POWERON_RESET),boot:0x12 (SPI_FAST_FLASH_BOOT)",
            (1, "POWERON_RESET", 0x12, "SPI_FAST_FLASH_BOOT", "esp32"),
        ),
        (
            ESP32,
            "rst:0x10 (RTCWDT_RTC_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))",
            (16, "RTCWDT_RTC_RESET", 3, "DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2)", "esp32"),
        ),
        (
            C3,
            "rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)",
            (12, "RTC_SW_CPU_RST", 8, "SPI_FAST_FLASH_BOOT", "esp32c3"),
        ),
        (
            "ESP-ROM:esp32c6-20220919",
            "> rst:0xc (SW_CPU),boot:0x1c (SPI_FAST_FLASH_BOOT)",
            (12, "SW_CPU", 0x1C, "SPI_FAST_FLASH_BOOT", "esp32c6"),
        ),
        ("", "rst:0x3 (SW_RESET),boot:0x1", (3, "SW_RESET", 1, None, None)),
        ("", "rst:0xf (RTCWDT_BROWN_OUT", (15, "", None, None, None)),
        ("", "wifi: conn\ufffdrst:0x3 (SW_RESET)", (3, "SW_RESET", None, None, None)),
    ],
)
def test_a_reset_line_is_a_boot(rom: str, line: str, expected: tuple[object, ...]) -> None:
    (boot,) = (e for e in events(rom, "Build:Feb  7 2021", line) if isinstance(e, Boot))
    assert (boot.line, boot.t) == (3, 7)
    found = (boot.reset_code, boot.reset_name, boot.boot_code, boot.boot_mode, boot.chip)
    assert found == expected


def test_the_same_reset_line_twice_is_two_boots() -> None:
    line = "rst:0x3 (SW_RESET),boot:0x1 (DOWNLOAD)"
    assert [event.line for event in events(line, line, line) if isinstance(event, Boot)] == [
        1,
        2,
        3,
    ]


APP = (
    "I (198) {tag}: Application information:",
    "I (201) {tag}: Project name:     sendspin-speaker",
    "I (205) {tag}: App version:      v0.7.0",
    "I (209) {tag}: Compile time:     Jan  1 2026 00:00:00",
    "I (215) {tag}: ELF file SHA256:  ab81a733d...",
    "I (220) {tag}: ESP-IDF:          v5.5.4",
)


@pytest.mark.parametrize("tag", ["app_init", "cpu_start"])
def test_an_application_names_itself(tag: str) -> None:
    (app,) = events(*(line.format(tag=tag) for line in APP))
    assert app == AppStarted(
        t=7,
        board="b",
        line=1,
        project="sendspin-speaker",
        version="v0.7.0",
        elf_sha256="ab81a733d",
        idf="v5.5.4",
    )


def test_an_application_cut_short_by_a_reset_still_counts() -> None:
    app, boot = events(
        *(line.format(tag="app_init") for line in APP[:3]), "rst:0x3 (SW_RESET),boot:0x8 (X)"
    )
    assert isinstance(app, AppStarted)
    assert (app.project, app.version, app.idf) == ("sendspin-speaker", "v0.7.0", None)
    assert isinstance(boot, Boot)


def test_other_words_of_the_start_up_code_are_no_application() -> None:
    assert events("I (198) cpu_start: Pro cpu start user code: yes") == []
