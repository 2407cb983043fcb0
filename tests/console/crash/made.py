"""Crashes made from the grammars of their formats, with what a reader must find in them.

Loaded by path from the tests beside it (tests are no package). Words, names and addresses are
drawn; the forms are those of ESP-IDF, ESPHome, Arduino and esp-hal.
"""

# ruff: noqa: E501 (log lines as they are printed)
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

Draw = Any


@dataclass
class Made:
    """Lines of one crash and what they say."""

    lines: list[str]
    kinds: tuple[str, ...]
    """The kinds a reader may name it by."""
    fields: dict[str, Any] = field(default_factory=dict)
    at: int = 0
    """Index of the line with its first evidence."""
    decides: int = 0
    """Index of the line that makes it a crash."""


WORDS = st.sampled_from(
    ["loop", "wifi", "sys_evt", "main", "Tmr Svc", "httpd", "btc_task", "mqtt_task", "IDLE0"]
)
NAMES = st.sampled_from(
    [
        "app_main",
        "xQueueSemaphoreTake",
        "multi_heap_free",
        "tcp_output",
        "on_wifi_event",
        "void Foo::run(int)",
    ]
)
FILES = st.sampled_from(
    [
        "queue.c",
        "./main/app.cpp",
        "C:/work/fw/main.c",
        "/home/u/esp-idf/components/heap/tlsf.c",
        "heap_tlsf.c",
    ]
)
EXPRESSIONS = st.sampled_from(
    ["head != NULL", "(pxQueue)", "x == 0 && (y > (1 << 3))", "ret == ESP_OK", "0"]
)

XTENSA_CAUSES = ["IllegalInstruction", "InstructionFetchError", "LoadStoreError", "IntegerDivideByZero", "LoadStoreAlignment", "InstrFetchProhibited", "LoadProhibited", "StoreProhibited", "Cp0Dis", "InstTLBMiss", "Privileged", "Unknown reason", "Double exception", "Unhandled kernel exception", "Coprocessor exception", "Cache disabled but cached memory region accessed", "Cache error"]  # fmt: skip
RISCV_CAUSES = ["Instruction address misaligned", "Instruction access fault", "Illegal instruction", "Breakpoint", "Load address misaligned", "Load access fault", "Store address misaligned", "Store access fault", "Environment call from M-mode", "Instruction page fault", "Load page fault", "Cache error", "Unknown reason"]  # fmt: skip


def code(draw: Draw) -> str:
    return f"0x{draw(st.integers(0x400D_0000, 0x401F_FFFF)):08x}"


def stack(draw: Draw) -> str:
    return f"0x{draw(st.integers(0x3FFB_0000, 0x3FFF_FFFF)):08x}"


def word(draw: Draw) -> str:
    return f"0x{draw(st.integers(0, 0xFFFF_FFFF)):08x}"


def rows(pairs: list[tuple[str, str]]) -> list[str]:
    cells = [f"{name:<8}: {value}  " for name, value in pairs]
    return ["".join(cells[at : at + 4]) for at in range(0, len(cells), 4)]


def backtrace(draw: Draw, deepest: int = 12) -> tuple[str, list[str]]:
    frames = [(code(draw), stack(draw)) for _ in range(draw(st.integers(1, deepest)))]
    head = draw(st.sampled_from(["Backtrace: ", "Backtrace:"]))
    parts = [f"{pc}:{sp}" for pc, sp in frames]
    # Some versions lose the space after the first pair.
    text = (
        parts[0] + draw(st.sampled_from([" ", ""])) + " ".join(parts[1:]) if parts[1:] else parts[0]
    )
    tail = draw(st.sampled_from(["", " ", " |<-CORRUPTED", " |<-CONTINUES"]))
    return head + text + tail, [pc for pc, _ in frames]


def xtensa_registers(draw: Draw) -> tuple[list[str], dict[str, str]]:
    names = [
        "PC",
        "PS",
        *[f"A{n}" for n in range(16)],
        "SAR",
        "EXCCAUSE",
        "EXCVADDR",
        "LBEG",
        "LEND",
        "LCOUNT",
    ]
    values = {name: word(draw) for name in ("PS", "EXCCAUSE", "EXCVADDR", "LCOUNT")}
    values |= {name: "0x00000000" for name in names if name not in values}
    values["PC"] = code(draw)
    return rows([(name, values[name]) for name in names]), values


def riscv_registers(draw: Draw) -> tuple[list[str], dict[str, str]]:
    names = ["MEPC", "RA", "SP", "GP", "TP", "T0", "T1", "T2", "S0/FP", "S1", *[f"A{n}" for n in range(8)], *[f"S{n}" for n in range(2, 12)], "T3", "T4", "T5", "T6", "MSTATUS", "MTVEC", "MCAUSE", "MTVAL", "MHARTID"]  # fmt: skip
    values = dict.fromkeys(names, "0x00000000")
    values |= {
        "MEPC": code(draw),
        "RA": code(draw),
        "SP": "0x3fca0910",
        "MTVAL": word(draw),
        "MCAUSE": "0x00000005",
    }
    return rows([(name, values[name]) for name in names]), values


def stack_memory(draw: Draw) -> list[str]:
    base = 0x3FCA_0910
    lines = ["Stack memory:"]
    for n in range(draw(st.integers(1, 6))):
        words = " ".join(word(draw) for _ in range(8))
        lines.append(f"{base + 32 * n:08x}: {words}")
    return lines


def tail(draw: Draw) -> list[str]:
    sha = draw(
        st.sampled_from(["ELF file SHA256: ab81a733d", "ELF file SHA256: 0000000000000000", ""])
    )
    return ["", sha, "", *draw(st.sampled_from([[], ["Rebooting..."], ["CPU halted."]]))]


def xtensa_body(draw: Draw, core: int) -> tuple[list[str], dict[str, Any]]:
    registers, values = xtensa_registers(draw)
    trace, frames = backtrace(draw)
    head = draw(st.sampled_from([f"Core  {core} register dump:", f"Core {core} register dump:"]))
    lines = [head, *registers, "", trace, *tail(draw)]
    return lines, {"pc": values["PC"], "excvaddr": values["EXCVADDR"], "backtrace": frames}


def riscv_body(draw: Draw, core: int) -> tuple[list[str], dict[str, Any]]:
    registers, values = riscv_registers(draw)
    lines = ["", f"Core  {core} register dump:", *registers, "", *stack_memory(draw), *tail(draw)]
    return lines, {"pc": values["MEPC"], "backtrace": [values["MEPC"], values["RA"]]}


@st.composite
def xtensa_panic(draw: Draw) -> Made:
    reason, core = draw(st.sampled_from(XTENSA_CAUSES)), draw(st.integers(0, 1))
    ending = draw(
        st.sampled_from([". Exception was unhandled.", ". ", "", " . Exception was unhandled."])
    )
    lines, fields = xtensa_body(draw, core)
    head = f"Guru Meditation Error: Core  {core} panic'ed ({reason}){ending}"
    return Made([head, *lines], ("panic",), fields | {"reason": reason, "core": core})


@st.composite
def old_panic(draw: Draw) -> Made:
    reason, core = draw(st.sampled_from(XTENSA_CAUSES[:8])), draw(st.integers(0, 1))
    lines, fields = xtensa_body(draw, core)
    head = (
        f"Guru Meditation Error of type {reason} occurred on core  {core}. Exception was unhandled."
    )
    return Made([head, *lines], ("panic",), fields | {"reason": reason, "core": core})


@st.composite
def riscv_panic(draw: Draw) -> Made:
    reason = draw(st.sampled_from(RISCV_CAUSES))
    lines, fields = riscv_body(draw, 0)
    head = f"Guru Meditation Error: Core  0 panic'ed ({reason}). Exception was unhandled."
    return Made([head, *lines], ("panic",), fields | {"reason": reason, "core": 0})


@st.composite
def watchdog_panic(draw: Draw) -> Made:
    core = draw(st.integers(0, 1))
    reason = f"Interrupt wdt timeout on CPU{core}"
    lines, fields = xtensa_body(draw, core)
    other, _ = xtensa_body(draw, 1 - core)
    lines = [line for line in lines if "Rebooting" not in line and "halted" not in line] + other
    head = f"Guru Meditation Error: Core  {core} panic'ed ({reason}). "
    return Made([head, *lines], ("int_wdt",), fields | {"reason": reason, "core": core})


@st.composite
def canary(draw: Draw) -> Made:
    task, core = draw(WORDS), draw(st.integers(0, 1))
    lines, fields = xtensa_body(draw, core)
    head = [
        f"Guru Meditation Error: Core  {core} panic'ed (Unhandled debug exception). ",
        f"Debug exception reason: Stack canary watchpoint triggered ({task}) ",
    ]
    return Made(
        head + lines,
        ("stack_overflow",),
        fields | {"reason": "Stack canary watchpoint triggered", "core": core, "task": task},
    )


@st.composite
def stack_guard(draw: Draw) -> Made:
    task = draw(WORDS)
    lines, fields = riscv_body(draw, 0)
    head = [
        "Guru Meditation Error: Core  0 panic'ed (Stack protection fault). ",
        "",
        f'Detected in task "{task}" at {code(draw)}',
        "Stack pointer: 0x3fc9a000",
        "Stack bounds: 0x3fc9a010 - 0x3fc9b000",
        "",
    ]
    return Made(
        head + lines,
        ("stack_overflow",),
        fields | {"reason": "Stack protection fault", "core": 0, "task": task},
    )


@st.composite
def memory_protection(draw: Draw) -> Made:
    lines, fields = riscv_body(draw, 0)
    head = [
        "Guru Meditation Error: Core  0 panic'ed (Memory protection fault). ",
        "  memory type: IRAM0_SRAM",
        "  faulting address: 0x403803a8",
        "  world: 0",
        "  operation type: W",
    ]
    return Made(
        head + lines,
        ("memprot",),
        fields | {"reason": "Memory protection fault", "core": 0, "excvaddr": "0x403803a8"},
    )


@st.composite
def abort(draw: Draw) -> Made:
    pc, core = code(draw), draw(st.integers(0, 1))
    head = f"abort() was called at PC {pc} on core {core}"
    if draw(st.booleans()):
        lines, fields = riscv_body(draw, core)
        return Made(
            [head, *lines], ("abort",), {"pc": pc, "core": core, "backtrace": fields["backtrace"]}
        )
    trace, frames = backtrace(draw)
    middle = draw(
        st.sampled_from([[""], ["", "", ""], ["", "ELF file SHA256: 0123456789abcdef", ""]])
    )
    return Made(
        [head, *middle, trace, *tail(draw)],
        ("abort",),
        {"pc": pc, "core": core, "backtrace": frames},
    )


def before(made: Made, lines: list[str], kinds: tuple[str, ...], **fields: Any) -> Made:
    """A crash whose other evidence stands before the abort."""
    return replace(made, lines=[*lines, *made.lines], kinds=kinds, fields=made.fields | fields)


@st.composite
def assert_new(draw: Draw) -> Made:
    func, file, line, expr = draw(NAMES), draw(FILES), draw(st.integers(1, 9999)), draw(EXPRESSIONS)
    trace, frames = backtrace(draw)
    head = f"assert failed: {func} {file}:{line} ({expr})"
    return Made(
        [head, "", "", trace, *tail(draw)],
        ("assert",),
        {
            "backtrace": frames,
            "assert_func": func,
            "assert_file": file,
            "assert_line": line,
            "assert_expr": expr,
        },
    )


@st.composite
def assert_old(draw: Draw) -> Made:
    func, file, line, expr = draw(NAMES), draw(FILES), draw(st.integers(1, 9999)), draw(EXPRESSIONS)
    head = f'assertion "{expr}" failed: file "{file}", line {line}, function: {func}'
    return before(
        draw(abort()),
        [head],
        ("assert", "abort"),
        assert_func=func,
        assert_file=file,
        assert_line=line,
        assert_expr=expr,
    )


@st.composite
def assert_rtos(draw: Draw) -> Made:
    file, line = (
        draw(st.sampled_from(["/a/freertos/queue.c", "./freertos/tasks.c"])),
        draw(st.integers(1, 9999)),
    )
    head = f"{file}:{line} (vTaskDelay)- assert failed!"
    return before(
        draw(abort()),
        [head],
        ("assert", "abort"),
        assert_func="vTaskDelay",
        assert_file=file,
        assert_line=line,
    )


@st.composite
def assert_stack(draw: Draw) -> Made:
    line = draw(st.integers(1, 999))
    head = f"Zigbee stack assertion failed zcl/zcl_general.c:{line}"
    return before(
        draw(abort()),
        [head, ""],
        ("assert", "abort"),
        assert_file="zcl/zcl_general.c",
        assert_line=line,
    )


@st.composite
def overflow(draw: Draw) -> Made:
    task = draw(WORDS)
    head = f"***ERROR*** A stack overflow in task {task} has been detected."
    return before(
        draw(abort()),
        [head],
        ("stack_overflow", "abort"),
        task=task,
        reason="A stack overflow in task ... has been detected",
    )


@st.composite
def heap(draw: Draw) -> Made:
    reason = draw(st.sampled_from(["Bad head at 0x3fcd5818. Expected 0xabba1234 got 0x63413581", "Bad tail at 0x3ffe7cc0. Expected 0xbaad5678 got 0x3ffaa858", "multi_heap.c:431 detected at 0x3ffb1234", "Invalid data at 0x3ffe631c. Expected 0xfefefefe got 0x00000000"]))  # fmt: skip
    return before(
        draw(st.one_of(assert_new(), assert_old(), abort())),
        [f"CORRUPT HEAP: {reason}"],
        ("heap_corruption", "assert", "abort"),
        reason=reason,
    )


@st.composite
def smashed(draw: Draw) -> Made:
    text = "Stack smashing protect failure!"
    return before(draw(abort()), [text, ""], ("stack_smash", "abort"), reason=text)


@st.composite
def terminate(draw: Draw) -> Made:
    head = [
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "  what():  std::bad_alloc",
        "",
    ]
    return before(draw(abort()), head, ("cpp_terminate", "abort"))


@st.composite
def task_watchdog(draw: Draw) -> Made:
    task, ms = draw(WORDS), draw(st.integers(1, 10_000_000))
    says = draw(st.sampled_from(["tasks", "tasks/users"]))
    tag = f"E ({ms}) task_wdt: "
    head = [
        f"{tag}Task watchdog got triggered. The following {says} did not reset the watchdog in time:",
        f"{tag} - {task} (CPU 0)",
        f"{tag}Tasks currently running:",
        f"{tag}CPU 0: {task}",
        f"{tag}CPU 1: IDLE1",
        f"{tag}Aborting.",
    ]
    if draw(st.booleans()):
        trace, frames = backtrace(draw)
        return Made(
            [*head, f"{tag}Print CPU 0 (current core) backtrace", "", trace, *tail(draw)],
            ("task_wdt",),
            {"task": task, "backtrace": frames},
            decides=5,
        )
    return replace(before(draw(abort()), [*head, ""], ("task_wdt", "abort"), task=task), decides=5)


BROWNOUT = st.just(
    Made(
        ["", "Brownout detector was triggered", ""],
        ("brownout",),
        {"reason": "Brownout detector was triggered"},
        at=1,
        decides=1,
    )
)


@st.composite
def report(draw: Draw) -> Made:
    reason, core, pc = (
        draw(st.sampled_from(XTENSA_CAUSES[:8])),
        draw(st.integers(0, 1)),
        code(draw).upper().replace("X", "x"),
    )
    frames = [code(draw) for _ in range(draw(st.integers(1, 6)))]
    tag = "[E][esp32.crash:329]: "
    lines = [
        f"{tag}*** CRASH DETECTED ON PREVIOUS BOOT ***",
        f"{tag}  Reason: Fault - {reason}",
        f"{tag}  Crashed core: {core}",
        f"{tag}  PC:  {pc}  (fault location)",
        *[f"{tag}  BT{n}: {frame}  (backtrace)" for n, frame in enumerate(frames)],
    ]
    return Made(lines, ("panic",), {"reason": reason, "core": core, "pc": pc, "backtrace": frames})


@st.composite
def rust(draw: Draw) -> Made:
    pc, address = code(draw), word(draw)
    reason = draw(
        st.sampled_from(["Load access fault", "Store/AMO access fault (7)", "Illegal instruction"])
    )
    lines = [
        "====================== PANIC ======================",
        "panicked at src/main.rs:117:5:",
        f"Exception '{reason}' mepc={pc}, mtval={address}",
    ]
    return Made(
        lines, ("panic",), {"reason": reason, "pc": pc, "excvaddr": address, "backtrace": [pc]}
    )


CRASHES = st.one_of(
    xtensa_panic(), old_panic(), riscv_panic(), watchdog_panic(), canary(), stack_guard(),
    memory_protection(), abort(), assert_new(), assert_old(), assert_rtos(), assert_stack(), overflow(),
    heap(), smashed(), terminate(), task_watchdog(), BROWNOUT, report(), rust(),
)  # fmt: skip

LOGS = st.lists(
    st.sampled_from([
        "I (12916530) wifi:state: run -> init (0)", "W (311) test: warning1", "E (17191377) TRANS_SSL: esp_tls_conn_read error, errno=Software caused connection abort",
        "[D][sensor:094]: 'Power': Sending state 0.00000 W", "I (30) boot: ESP-IDF v5.1.4 2nd stage bootloader", "just some printf",
        "[  1880][D][WiFiGeneric.cpp:831] _arduino_event_cb(): event: 18", "E (226603) HTTP_CLIENT: Connection failed, sock < 0", "",
        "I (200) main: panic mode is off, asserts are on", "W (5) app: ESP_ERROR_CHECK_WITHOUT_ABORT failed: esp_err_t 0x103 (ESP_ERR_INVALID_STATE) at 0x400d1234",
        "CONFIG_ESP_BROWNOUT_DET=y", "E (20) task_wdt: esp_task_wdt_reset(707): task not found", "I (9) ota: done, Rebooting...",
    ]),
    max_size=6,
)  # fmt: skip

BOOTS = st.sampled_from([
    ["ets Jun  8 2016 00:22:57", "", "rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "configsip: 0, SPIWP:0xee", "mode:DIO, clock div:2", "load:0x3fff0018,len:4", "entry 0x400806b4"],
    ["ESP-ROM:esp32c3-api1-20210207", "Build:Feb  7 2021", "rst:0x3 (RTC_SW_SYS_RST),boot:0xc (SPI_FAST_FLASH_BOOT)", "Saved PC:0x40381c52", "SPIWP:0xee", "entry 0x403cc710"],
    ["ESP-ROM:esp32s3-20210327", "Build:Mar 27 2021", "rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)", "load:0x3fce3808,len:0x48c", "entry 0x403c98d0"],
])  # fmt: skip

PREFIXES = [
    "", "[12:34:26]", "[13:16:42.487] ", "13:54:52.301 -> ", "11-23 02:40:18.696", "> ", "2026-07-23 22:50:44.645 ",
    "2026-07-23T22:50:44Z ", "Nov 23 09:20:07 bench ser2net[412]: ", "[2020-04-12 02:03:53] ", "    ",
    ">> ", "> > ", "--> ", "00:09:22.640 > ", "board_1  | ", "[19:46:42:120] ", "[18:14:09.444]收←◆",
    "[12:34:56][E][esp-idf:000]: ", "[12:34:56][E][esp-idf:000][httpd]: ", "2026-11-24 21:38:20,123 ",
    "2026-11-24T21:38:20+0100 bench picocom[7]: ", "2026-11-24 21:38:20.123 DEBUG ttyUSB0: ",
    "[2026-11-24 21:38:20.123] RX: ", "| ", "* ", "1732484300.123456 ", "[ 1234.567890] ",
]  # fmt: skip

DRESSES = [
    lambda text: text,
    lambda text: f"\x1b[0;31m{text}\x1b[0m",
    lambda text: f"␛[0;31m{text}␛[0m",
    lambda text: f"\\x1b[0;31m{text}\\x1b[0m",
    lambda text: f"ESC[0;31m{text}ESC[0m",
    lambda text: f"[0;31m{text}[0m",
    lambda text: f"\\033[1;31m{text}\\033[0m",
    lambda text: (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;")
    ),
    lambda text: text.replace("'", "’"),
    lambda text: text + "\r",
    lambda text: text + "   ",
]
