"""Forms seldom seen: other run times, lost heads, tools that print what looks like a crash.

The forms are those of the sources named in `rig/console/crash/forms.py`; all contents are invented.
"""

from __future__ import annotations

import pytest

from rig.console.crash import CrashReader, Finished
from rig.history.crash import CrashRecord


def read(*lines: str) -> list[CrashRecord]:
    reader = CrashReader()
    events = [event for n, text in enumerate(lines, 1) for event in reader.feed(n, text)]
    return [e.record for e in (*events, *reader.flush()) if isinstance(e, Finished)]


def test_zephyr_says_cause_core_and_addresses_on_lines_of_their_own() -> None:
    (crash,) = read(
        "[00:00:02.500,000] <err> os:  ** FATAL EXCEPTION",
        "[00:00:02.500,000] <err> os:  ** CPU 1 EXCCAUSE 28 (load prohibited)",
        "[00:00:02.500,000] <err> os:  **  PC 0x400d1234 VADDR 0x00000010",
        "[00:00:02.500,000] <err> os: >>> ZEPHYR FATAL ERROR 0: CPU exception on CPU 1",
    )
    assert (crash.kind, crash.reason, crash.core) == ("panic", "load prohibited", 1)
    assert (crash.pc, crash.excvaddr) == ("0x400d1234", "0x00000010")


def test_zephyr_of_old_said_it_all_on_one_line_and_the_cause_as_a_number() -> None:
    (crash,) = read(
        " ** FATAL EXCEPTION",
        " ** CPU 0 EXCCAUSE 29 PS 0x00060120 PC 0x400d2000 VADDR 0x00000004",
        " **  A0 0x80082419  SP 0x3ffb1b70  A2 0x00000000  A3 0x00000000",
    )
    assert (crash.reason, crash.core, crash.pc) == ("StoreProhibited", 0, "0x400d2000")
    assert crash.excvaddr == "0x00000004"


@pytest.mark.parametrize(
    "line",
    [
        "_assert: Assertion failed panic: at file: common/part.c:187 task: net server 0x400d7a4c",
        "up_assert: Assertion failed at file:common/part.c line: 187 task: net server",
        "dump_assert_info: Assertion failed : at file: common/part.c:187 task: net server",
    ],
)
def test_nuttx_asserts_name_file_line_and_task(line: str) -> None:
    (crash,) = read(line, "up_dump_register:    PC: 400dda98    PS: 00060f30")
    assert (crash.kind, crash.assert_file, crash.assert_line) == ("assert", "common/part.c", 187)
    assert (crash.task, crash.pc) == ("net server", "400dda98")


def test_nuttx_panics_name_cause_and_task() -> None:
    (crash,) = read(
        "xtensa_user_panic: User Exception: EXCCAUSE=001c task: net server",
        "_assert: Assertion failed panic: at file: common/part.c:187 task: net server 0x400d7a4c",
    )
    assert (crash.line, crash.reason, crash.task) == (1, "LoadProhibited", "net server")


def test_a_report_of_the_boot_before_that_lost_its_head_is_found() -> None:
    (crash,) = read(
        "Lamp: [E][esp32.crash:302]: BT2: 0x400D1000 (backtrace)",
        "Lamp: [E][esp32.crash:302]: BT3: 0x400D2000 (backtrace)",
        "Lamp: [E][esp32.crash:358]: Use: addr2line -pfiaC -e firmware.elf 0x400D1000 0x400D2000",
    )
    assert (crash.line, crash.backtrace) == (1, ("0x400D1000", "0x400D2000"))


def test_the_rest_of_a_report_behind_other_lines_is_no_second_crash() -> None:
    records = [f"[10:00:00][D][sensor:094]: 'Light': {n}" for n in range(5)]
    assert len(
        read(
            "[10:00:00][E][esp32.crash:332]: *** CRASH DETECTED ON PREVIOUS BOOT ***",
            "[10:00:00][E][esp32.crash:340]:   PC:  0x400D1000  (fault location)",
            *records,
            "[10:00:00][E][esp32.crash:302]:   BT0: 0x400D1000  (backtrace)",
        )
    ) == 1  # fmt: skip


def test_the_cause_number_of_a_report_is_no_part_of_its_reason() -> None:
    (crash,) = read(
        "[E][esp32.crash:332]: *** CRASH DETECTED ON PREVIOUS BOOT ***",
        "[E][esp32.crash:335]:   Reason: Interrupt wdt - Interrupt wdt timeout on CPU0 (cause 5)",
    )
    assert (crash.kind, crash.reason) == ("int_wdt", "Interrupt wdt timeout on CPU0")


def test_a_core_dumps_report_names_the_task_that_crashed() -> None:
    (crash,) = read(
        "==================== ESP32 CORE DUMP START ====================",
        "",
        "Crashed task handle: 0x3ffb1234, name: 'worker', GDB name: 'process 1'",
    )
    assert (crash.kind, crash.task) == ("coredump", "worker")


@pytest.mark.parametrize(
    "line",
    [
        "gdb/findvar.c:290: internal-error: f: Assertion `frame_id_p (frame)' failed.",
        "Core  0 register dump disabled",
        "terminate called too early, retrying",
        "the panel panicked at noon",
        "E (300) esp_core_dump_flash: No core dump partition found!",
        "D (1384) esp_core_dump_common: Crashed task 0x3fcb63f8",
        "{'PC': '0x40080000'}",
        "A fatal error occurred: Failed to connect to ESP32",
    ],
)
def test_what_only_looks_like_a_crash_is_none(line: str) -> None:
    assert read(line, "I (1) app: going on") == []


def test_esphomes_prefix_of_idf_lines_does_not_end_a_crash() -> None:
    prefix = "[12:34:56][E][esp-idf:000][httpd]: "
    (crash,) = read(
        f"{prefix}Guru Meditation Error: Core  0 panic'ed (LoadProhibited).",
        prefix,
        prefix,
        prefix,
        f"{prefix}Backtrace: 0x400d1000:0x3ffb0000 0x400d2000:0x3ffb0020",
    )
    assert crash.backtrace == ("0x400d1000", "0x400d2000")


def test_a_terminals_arrow_is_no_part_of_an_asserts_path() -> None:
    (crash,) = read("[18:14:09.444]收←◆./os/tasks.c:347 (vTaskDelay)- assert failed!")
    assert (crash.assert_file, crash.assert_func) == ("./os/tasks.c", "vTaskDelay")


def test_zephyr_on_riscv_says_the_cause_in_words_and_the_registers_below() -> None:
    (crash,) = read(
        "[00:00:04.100,000] <err> os: ",
        "[00:00:04.100,000] <err> os:  mcause: 5, Load access fault",
        "[00:00:04.100,000] <err> os:   mtval: 3c",
        "[00:00:04.100,000] <err> os:      a0: 00000000    t0: 42001e74",
        "[00:00:04.100,000] <err> os:    mepc: 42004b1e",
        "[00:00:04.100,000] <err> os: >>> ZEPHYR FATAL ERROR 0: CPU exception on CPU 0",
    )
    assert (crash.line, crash.kind, crash.reason) == (2, "panic", "Load access fault")
    assert (crash.pc, crash.excvaddr) == ("42004b1e", "3c")


def test_zephyr_prints_no_zeros_in_front_of_an_address() -> None:
    (crash,) = read(
        "** FATAL EXCEPTION",
        "** CPU 0 EXCCAUSE 29 (store prohibited)",
        "**  PC 0x4001ad62 VADDR 0x4C",
    )
    assert crash.excvaddr == "0x4C"


@pytest.mark.parametrize("quote", ["\ufffd", "’", "â€™", "`", ""])
def test_the_quote_of_panic_ed_comes_in_every_code_page(quote: str) -> None:
    (crash,) = read(f"Guru Meditation Error: Core  1 panic{quote}ed (StoreProhibited). Exception")
    assert (crash.reason, crash.core) == ("StoreProhibited", 1)


@pytest.mark.parametrize("host", ["DEBUG ttyUSB0: ", "RX: ", "[09:41:07] <bench 3> "])
def test_a_backtrace_is_read_on_behind_the_mark_of_any_host(host: str) -> None:
    frames = [f"0x400d{n:04x}" for n in range(6)]
    pairs = " ".join(f"{frame}:0x3ffb0010" for frame in frames)
    text = f"Backtrace: {pairs} "
    wrapped = [text[at : at + 50] for at in range(0, len(text), 50)]
    (crash,) = read(
        host + "abort() was called at PC 0x400d0002 on core 0",
        *(host.replace("7", str(n)) + part for n, part in enumerate(wrapped)),
    )
    assert list(crash.backtrace) == frames


def test_a_core_dump_is_read_behind_the_mark_of_any_host() -> None:
    (crash,) = read(
        "RX: ================= CORE DUMP START =================",
        "RX: 5AYAAAEAAgAQAAAA",
        "RX: XAAAAAAAAAABAAAA",
        "RX: ================= CORE DUMP END ===================",
    )
    assert crash.core_dump == ("5AYAAAEAAgAQAAAA", "XAAAAAAAAAABAAAA")


def test_a_reason_whose_bracket_was_lost_ends_where_its_words_do() -> None:
    (crash,) = read("Guru Meditation Error: Core  1 panic'ed (StoreProhibited|")
    assert crash.reason == "StoreProhibited"


def test_markdown_escapes_are_taken_back() -> None:
    (crash,) = read(r"\*\*\*ERROR\*\*\* A stack overflow in task net\_pump has been detected.")
    assert (crash.kind, crash.task) == ("stack_overflow", "net_pump")


@pytest.mark.parametrize("end", ["␍␊", "␍", "␊", "<CR><LF>", "[0D][0A]"])
def test_a_line_end_that_a_terminal_program_wrote_out_is_no_text(end: str) -> None:
    (crash,) = read(f"terminate called without an active exception{end}", f"what():  lost{end}")
    assert crash.text == ("terminate called without an active exception", "what():  lost")


def test_a_json_record_that_is_no_hosts_is_left_alone() -> None:
    deep = '{"log":' + "[" * 100_000 + "}"
    assert read(deep, '{"log": 3}', '{"log":"Guru","x"}') == []
