"""Crashes of every form, in every dress: found once, at their line, with what they say."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rig.console.crash import Began, CrashReader, Finished, Reset, Warned
from rig.history.crash import CrashRecord


def load(name: str) -> Any:
    """A module beside this file (tests are no package)."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


made = load("made")
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def read(lines: list[str]) -> list[CrashRecord]:
    """The crashes of a log; each must have begun before it finished."""
    reader = CrashReader()
    began: list[Began] = []
    found: list[CrashRecord] = []
    events = [event for n, text in enumerate(lines, 1) for event in reader.feed(n, text)]
    for event in (*events, *reader.flush()):
        if isinstance(event, Began):
            began.append(event)
        elif isinstance(event, Finished):
            found.append(event.record)
    assert [b.line for b in began] == [record.line for record in found]
    return found


def agrees(record: CrashRecord, crash: Any, line: int) -> None:
    """The record says what the crash was made of."""
    assert record.kind in crash.kinds
    assert record.line == line
    for name, wanted in crash.fields.items():
        have = getattr(record, name)
        if name == "backtrace":
            assert [address.lower() for address in have] == [pc.lower() for pc in wanted]
        elif name in ("pc", "excvaddr"):
            assert have is not None
            assert have.lower() == wanted.lower()
        else:
            assert have == wanted, name


@SLOW
@given(crash=made.CRASHES, before=made.LOGS, after=made.LOGS, boot=made.BOOTS)
def test_a_crash_in_a_log_is_found_with_all_it_says(
    crash: Any, before: list[str], after: list[str], boot: list[str]
) -> None:
    found = read([*boot, *before, *crash.lines, *boot, *after])
    assert len(found) == 1
    agrees(found[0], crash, len(boot) + len(before) + crash.at + 1)


@SLOW
@given(
    crash=made.CRASHES,
    prefix=st.sampled_from(made.PREFIXES),
    dress=st.sampled_from(made.DRESSES),
    boot=made.BOOTS,
)
def test_neither_prefix_nor_colour_nor_quoting_hides_a_crash(
    crash: Any, prefix: str, dress: Any, boot: list[str]
) -> None:
    lines = [prefix + dress(line) for line in [*boot, *crash.lines, *boot]]
    found = read(lines)
    assert len(found) == 1
    agrees(found[0], crash, len(boot) + crash.at + 1)


@SLOW
@given(first=made.CRASHES, second=made.CRASHES, boot=made.BOOTS)
def test_a_boot_between_two_crashes_tells_them_apart(
    first: Any, second: Any, boot: list[str]
) -> None:
    # A report of the boot before, with the address of the crash before it, is that very crash.
    assume("esp32.crash" not in second.lines[0])
    found = read([*first.lines, *boot, *second.lines, *boot])
    assert len(found) == 2
    agrees(found[0], first, first.at + 1)
    agrees(found[1], second, len(first.lines) + len(boot) + second.at + 1)


@SLOW
@given(crash=made.xtensa_panic(), report=made.report(), boot=made.BOOTS)
def test_a_report_of_the_boot_before_is_the_crash_already_read(
    crash: Any, report: Any, boot: list[str]
) -> None:
    pc = crash.fields["pc"]
    told = [line.replace(report.fields["pc"], pc) for line in report.lines]
    assert len(read([*crash.lines, *boot, *told, "[I][app:100]: going on"])) == 1


@SLOW
@given(crash=made.CRASHES, boot=made.BOOTS, times=st.integers(2, 5))
def test_each_crash_of_a_boot_loop_is_a_record_of_its_own(
    crash: Any, boot: list[str], times: int
) -> None:
    found = read([*boot, *crash.lines] * times)
    period = len(boot) + len(crash.lines)
    if "esp32.crash" in crash.lines[0]:
        assert len(found) == 1  # the same report again is the same crash
        return
    assert [record.line for record in found] == [
        n * period + len(boot) + crash.at + 1 for n in range(times)
    ]


@SLOW
@given(crash=made.CRASHES, data=st.data())
def test_a_log_cut_after_its_head_still_names_the_crash(crash: Any, data: st.DataObject) -> None:
    keep = data.draw(st.integers(crash.decides + 1, len(crash.lines)))
    found = read(crash.lines[:keep])
    assert len(found) == 1
    assert found[0].line == crash.at + 1
    for name in ("pc", "excvaddr", "core", "task", "reason"):
        have = getattr(found[0], name)
        assert (
            have is None
            or name not in crash.fields
            or name == "reason"
            or (
                str(have).lower() == str(crash.fields[name]).lower()
                or (name == "pc" and "task_wdt" in found[0].kinds)
            )
        )


@SLOW
@given(
    crash=st.one_of(made.xtensa_panic(), made.riscv_panic(), made.watchdog_panic(), made.canary()),
    lost=st.integers(1, 3),
)
def test_a_crash_that_lost_its_head_is_found_by_its_body(crash: Any, lost: int) -> None:
    found = read(crash.lines[lost:])
    assert len(found) == 1
    assert [pc.lower() for pc in found[0].backtrace] == crash.fields["backtrace"]


@SLOW
@given(lines=made.LOGS, boot=made.BOOTS, prefix=st.sampled_from(made.PREFIXES))
def test_a_log_without_a_crash_has_none(lines: list[str], boot: list[str], prefix: str) -> None:
    assert read([prefix + line for line in [*boot, *lines, *boot, *lines]]) == []


@SLOW
@given(
    crash=made.xtensa_panic(),
    width=st.integers(60, 120),
    prefix=st.sampled_from(
        # A stamp glued to the digits of a cut address ends nobody knows where.
        [one for one in made.PREFIXES if not one.endswith(("DEBUG ttyUSB0: ", "RX: ", "696"))]
    ),
)
def test_a_terminal_that_wraps_lines_loses_no_frame(crash: Any, width: int, prefix: str) -> None:
    lines = [cut for line in crash.lines for cut in wrapped(line.rstrip(), width)]
    found = read([prefix + line for line in lines])
    assert len(found) == 1
    assert list(found[0].backtrace) == crash.fields["backtrace"]


def wrapped(line: str, width: int) -> list[str]:
    return [line[at : at + width] for at in range(0, len(line), width)] or [""]


@SLOW
@given(crash=made.CRASHES)
def test_case_does_not_matter(crash: Any) -> None:
    found = read([line.upper() for line in crash.lines])
    assert len(found) == 1
    assert found[0].kind in crash.kinds


@SLOW
@given(crash=made.canary())
def test_a_canary_is_told_in_any_case(crash: Any) -> None:
    (found,) = read([line.upper() for line in crash.lines])
    assert found.reason == crash.fields["reason"]


@pytest.mark.parametrize(
    "line",
    [
        "The word abort in prose is no crash",
        "I (5) app: assert that the panic handler reboots",
        "E (17191377) TRANS_SSL: read error, errno=Software caused connection abort",
        "ESP_ERROR_CHECK_WITHOUT_ABORT failed: esp_err_t 0x103 at 0x400d1234",
        "[C][debug:053]: Reset Reason: Brownout",
        "CONFIG_ESP_SYSTEM_PANIC_PRINT_REBOOT=y",
        "I (34774) ota: OTA Success, Rebooting...",
        "I (311) app_init: ELF file SHA256:  ab81a733d...",
        "Saved PC:0x40381c52",
        "PC: 0x40001277",
        "EXCVADDR: 0x00000000",
        "xtensa-esp32-elf-addr2line -pfiaC -e a.elf 0x40115b43:0x3ffd04c0 0x40082d7d:0x3ffd04e0",
        "ASSERT_WARN(1 8), in lc_task.c at line 1408",
        "E (20) task_wdt: esp_task_wdt_reset(707): task not found",
        "I (393) esp_core_dump_flash: Init core dump to flash",
        "raise AssertionError('assert failed')",
        "rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
        "invalid header: 0xffffffff",
    ],
)
def test_what_a_line_alone_cannot_decide_is_no_crash(line: str) -> None:
    assert read([line, "I (1) app: going on"]) == []


@pytest.mark.parametrize("prefix", made.PREFIXES)
def test_a_reset_is_told_behind_any_prefix(prefix: str) -> None:
    reader = CrashReader()
    (reset,) = reader.feed(1, prefix + "rst:0x7 (TG0WDT_SYS_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)")
    assert isinstance(reset, Reset)
    assert (reset.code, reset.name, reset.boot, reset.silent) == (7, "TG0WDT_SYS_RESET", 0x13, True)


FILLS = [
    "a", " ", "0", "0x400d0000 ", "0x400d0000:0x3ffb0000 ", "a.c:1 ", "(a", "[0", "> ", "A:", "b'",
]  # fmt: skip
STARTS = [
    "panic'ed (",
    "assert failed: ",
    "Assertion failed ",
    "abort() was called ",
    "Backtrace: ",
    "rst:0x",
    "runtime error",
    "Exception '",
    "task_wdt: - ",
    '"',
]


@pytest.mark.parametrize("start", STARTS)
def test_no_line_is_long_enough_to_keep_the_reader_busy(start: str) -> None:
    """A regular expression that backtracks takes seconds on one of these, the reader 10 ms."""
    for fill in FILLS:
        for line in ((start + fill * 9000)[:8192], (fill * 9000)[: 8192 - len(start)] + start):
            began = time.process_time()
            read([made_head(), line])
            assert time.process_time() - began < 0.5, (start, fill)


def made_head() -> str:
    return "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled."


CHECK = [
    "ESP_ERROR_CHECK failed: esp_err_t 0x103 (ESP_ERR_INVALID_STATE) at 0x400d5a3c",
    'file: "./main/app.c" line 33',
    "func: app_main",
    "expression: nvs_flash_init()",
    "",
]
WORDS = "ESP_ERROR_CHECK failed: esp_err_t 0x103 (ESP_ERR_INVALID_STATE)"


@SLOW
@given(crash=made.abort(), boot=made.BOOTS)
def test_a_failed_check_is_the_reason_of_the_abort_after_it(crash: Any, boot: list[str]) -> None:
    (record,) = read([*CHECK, *crash.lines, *boot])
    agrees(record, crash, len(CHECK) + 1)
    assert record.reason == WORDS


@pytest.mark.parametrize("after", [[], ["ets Jun  8 2016 00:22:57"], ["I (5) app: x"] * 30])
def test_a_failed_check_whose_abort_was_lost_is_a_crash_all_the_same(after: list[str]) -> None:
    (record,) = read([*CHECK, *after])
    assert (record.kind, record.line, record.reason) == ("abort", 1, WORDS)


RISCV_ROWS = [
    "Core  0 register dump:",
    "MEPC    : 0x42001000  RA      : 0x42001100  SP      : 0x3fc90000  GP      : 0x3fc80000",
    "MSTATUS : 0x00001881  MTVEC   : 0x40380001  MCAUSE  : 0x00000007  MTVAL   : 0x00000010",
]
WATCHDOG = [
    "E (9000) task_wdt: Task watchdog got triggered. The following tasks did not reset:",
    "E (9000) task_wdt:  - IDLE (CPU 0)",
    "E (9000) task_wdt: Tasks currently running:",
    "E (9000) task_wdt: CPU 0: worker",
]
PRINTING = "E (9000) task_wdt: Print CPU 0 (current core) registers"


def test_the_registers_of_a_watchdog_that_goes_on_are_no_crash() -> None:
    stack = [
        f"3fc9{n:04x}: 0x00000000 0x42001200 0x00000000 0x00000000" for n in range(0, 1024, 16)
    ]
    once = [*WATCHDOG, PRINTING, *RISCV_ROWS, "", "Stack memory:", *stack]
    lines = [*once, *once, "I (9100) app: on", "I (9200) app: on"]
    reader = CrashReader()
    events = [event for n, text in enumerate(lines, 1) for event in reader.feed(n, text)]
    warned = [event for event in (*events, *reader.flush()) if isinstance(event, Warned)]
    assert read(lines) == []
    assert [(w.kind, w.line, w.task, w.backtrace) for w in warned] == [
        ("task_wdt", 1, "IDLE", ("0x42001000", "0x42001100")),
        ("task_wdt", len(once) + 1, "IDLE", ("0x42001000", "0x42001100")),
    ]


def test_the_registers_of_a_watchdog_that_aborts_are_the_crash() -> None:
    (crash,) = read([*WATCHDOG, "E (9000) task_wdt: Aborting.", PRINTING, *RISCV_ROWS])
    assert (crash.kind, crash.line, crash.pc) == ("task_wdt", 1, "0x42001000")


def test_a_rom_that_says_pc_on_riscv_gives_its_two_frames() -> None:
    (crash,) = read(
        [
            "Guru Meditation Error: Core 0 panic'ed (Illegal instruction)",
            "PC      : 0x4ff01000  RA      : 0x4fc02000  SP      : 0x4ff3c000",
            "MSTATUS : 0x00001880  MCAUSE  : 0x38000002  MTVAL   : 0x00000000",
        ]
    )
    assert crash.backtrace == ("0x4ff01000", "0x4fc02000")


def test_a_report_goes_on_behind_a_log_record_between_its_lines() -> None:
    (crash,) = read(
        [
            "[10:00:00][E][esp32.crash:332]: *** CRASH DETECTED ON PREVIOUS BOOT ***",
            "[10:00:00][E][esp32.crash:335]:   Reason: Task WDT",
            "[10:00:00][D][sensor:094]: 'Light': Sending state 3",
            "[10:00:00][E][esp32.crash:339]:   Crashed core: 1",
            "[10:00:00][E][esp32.crash:340]:   PC:  0x400D1000  (fault location)",
        ]
    )
    assert (crash.kind, crash.core, crash.pc) == ("task_wdt", 1, "0x400D1000")


@pytest.mark.parametrize(
    "body", [["", "Backtrace:0x400d1000:0x3ffb0000 0x400d2000:0x3ffb0020"], RISCV_ROWS]
)
def test_a_failed_check_and_the_body_under_it_are_one_abort(body: list[str]) -> None:
    (crash,) = read(
        [
            "ESP_ERROR_CHECK failed: esp_err_t 0x103 (ESP_ERR_INVALID_STATE) at 0x400d1234",
            'file: "./main.c" line 3',
            "func: app_main",
            "expression: begin()",
            *body,
        ]
    )
    assert (crash.kind, crash.line, len(crash.backtrace)) == ("abort", 1, 2)
