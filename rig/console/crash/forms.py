"""The printed forms of a crash, as regular expressions. All are searched, none is anchored.

A torn or glued line must still be read, so a form asks for no more than what tells it apart.
Sources: ESP-IDF `panic.c`, `panic_arch.c`, `task_wdt.c`, `assert.c`, `ubsan.c`, `esp_err.c`;
ESPHome `crash_handler.cpp`; Tasmota `support_crash_recorder`; esp-hal's esp-backtrace; Zephyr's
Xtensa port; the ROMs; and logs in the wild.
"""

from __future__ import annotations

import re

_I = re.IGNORECASE
ADDRESS = r"0x[0-9a-f]{8}"
BARE_ADDRESS = r"(?:0x)?[0-9a-f]{8}"

# -- heads ---------------------------------------------------------------------------------------

PANICKED = re.compile(
    r"(?:Core\s+(?P<core>\d)\s+)?panic(?:['`]|[^\x00-\x7f]{1,3})?ed\s*(?P<open>\()", _I
)
"""`Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.`"""
REASON = re.compile(r"[\w /-]*(?<! )|")
"""What a reason is made of; where its bracket was lost, the line may go on behind it."""
PANICKED_OLD = re.compile(
    r"Guru Meditation Error of type (?P<reason>.+?) occurr?ed on core\s+(?P<core>\d)", _I
)
GURU = re.compile(r"Guru Meditation Error(?::\s*(?:Core\s+(?P<core>\d))?|\s+of type)", _I)
GURU_TORN = re.compile(r"Guru Medit[a-z]*(?: E[a-z]*)?\W*$", _I)
PANICKED_TORN = re.compile(r"^(?:p?a?n?i?c?'?)?e?d \((?P<reason>[A-Z][\w /]+)\)[. ]", _I)
"""A head whose first letters were lost."""
UNHANDLED = re.compile(r"(?P<reason>\w[\w /]{0,80})\)\. Exception was unhandled", _I)
"""The panic's first line without its beginning."""
CANARY = re.compile(r"Stack canary watchpoint triggered(?:\s*\((?P<task>[^)]*)\)?)?", _I)
DEBUG_REASON = re.compile(r"Debug exception reason:\s*(?P<reason>.*)", _I)
ABORT = re.compile(
    r"(?:abort\(\) was called(?: at(?: PC)?)?|(?<![A-Za-z])called at PC)"
    rf"(?:(?<=PC)\s*(?P<pc>{ADDRESS})(?:\s+on core\s+(?P<core>\d))?|\s*$)",
    _I,
)
OVERFLOW = re.compile(r"stack overflow in task\s+(?P<task>.+?)\s+has been detected", _I)
OVERFLOW_TORN = re.compile(r"\*\*\*ERROR\*\*\* A stack overflow in task(?:\s+(?P<task>\S+))?", _I)
SMASHED = re.compile(r"Stack smashing protect failure!?|\*\*\* stack smashing detected \*\*\*", _I)
HEAP = re.compile(r"CORRUPT HEAP:\s*(?P<reason>.*?(?:got 0x[0-9a-f]{1,8}|$))", _I)
BROWNOUT = re.compile(
    r"(?<!^[\"'])(?<![^:=,][\"'])Brownout detector was triggered"
    r"(?=\W*$|ets |ESP-ROM|[\"'<\[\\][^ ])",
    _I,
)
TERMINATE = re.compile(
    r"terminate called(?: after throwing an instance of '[^']*'?| without an active exception"
    r"| recursively|(?= after(?: t|\W*$))|(?= without(?: an? ?a|\W*$))|(?=\W*$))",
    _I,
)
PROCESS_ENDED = re.compile(r"process ended (?:by SIG[A-Z0-9]+|with [1-9]\d*) \(pid \d+\)")
"""What a board of kind `process` prints when its program ended by itself, and not well."""
WHAT = re.compile(r"^\s*what\(\):\s*(?P<what>.*)", _I)
CHECK_FAILED = re.compile(
    r"ESP_ERROR_CHECK failed: esp_err_t (?:0x[0-9a-f]+|-?\d+)(?: \(\w+\))?", _I
)
UNDEFINED = re.compile(r"Undefined behavior of type \w+", _I)
PANIC_AGAIN = re.compile(r"Panic handler entered multiple times|Re-entered core dump!", _I)

# -- asserts: each has some of expr, file, line, func --------------------------------------------

ASSERT_NEW = re.compile(
    r"assert failed:\s*(?P<func>.*?)\s+(?P<file>(?:[A-Za-z]:)?[^\s:()]+\.[A-Za-z]\w{0,3})"
    r":(?P<line>\d+)(?:\s*(?P<open>\())?",
    _I,
)
ASSERT_TORN = re.compile(r"assert failed:\s*(?P<func>[^\s(]+)?", _I)
ASSERT_OLD = re.compile(
    r'assertion "(?P<expr>.*?)" failed(?:: file "(?P<file>[^"]*)"?(?:, line (?P<line>\d+))?'
    r"(?:, \w+: (?P<func>.*))?"
    r"| at line (?P<line2>\d+) in (?P<file2>\S+))?",
    _I,
)
ASSERT_RTOS = re.compile(
    r"(?<!\S)(?P<file>(?:[A-Za-z]:)?[^\s:]+):(?P<line>\d+) \((?P<func>[^)]*)\)\s*-?\s*"
    r"assert failed!",
    _I,
)
ASSERT_ROM = re.compile(
    r"ASSERT_(?:ERR|PARAM)(?P<open>\().*\), in (?P<file>\S+)(?: at line (?P<line>\d+))?", _I
)
ASSERT_BLE = re.compile(
    r"(?:BLE|BT controller) assert:? (?:line (?P<line>\d+) in function (?P<func>\w+)"
    r"|(?P<file>\S+\.c)[ ,]+(?P<line2>\d+))"
    r"|\bassert (?P<file2>\S+\.c) (?P<line3>\d+), param",
    _I,
)
ASSERT_NUTTX = re.compile(
    r"Assertion failed (?P<expr>.*?):? ?at file: ?(?P<file>\S+?\.\w{1,4})(?::| line: )(?P<line>\d+)"
    r"(?: task(?:\(CPU\d\))?: (?P<task>.+?)(?: process:.*| 0x[0-9a-f]{8})?\s*$)?",
    _I,
)
ASSERT_PATH = re.compile(
    r"assertion failed:? (?P<file>(?:[A-Za-z]:)?[^\s:]+\.\w{1,4}):(?P<line>\d+)", _I
)
"""`Zigbee stack assertion failed zcl/zcl_general_commands.c:612`"""
ASSERT_HOST = re.compile(
    r"(?<!\S)(?P<file>[^\s:]+):(?P<line>\d+): (?P<func>.*?): "
    r"Assertion [`'\"](?P<expr>.*)['\"] failed",
    _I,
)
FAILURE_AT = re.compile(r"^(?P<file>.+\.\w{1,3}):(?P<line>\d+)$")
"""The line under a bare `FAILURE` (LMIC)."""

# -- task watchdog -------------------------------------------------------------------------------

WDT_HEAD = re.compile(r"Task watchdog got triggered", _I)
WDT_LINE = re.compile(
    r"task_wdt:\s+(?:- (?P<task>.+?) \(CPU [\d/]+\)|CPU \d: |(?P<abort>Aborting)"
    r"|Tasks currently|Print CPU)"
    r"|^\s*(?P<running>Tasks currently running:)",
    _I,
)

WDT_BARE = re.compile(r"^(?:- (?P<task>.+?) \(CPU [\d/]+\)|CPU \d: \S|(?P<abort>Aborting\.))", _I)

# -- reports after the boot ----------------------------------------------------------------------

REPORT = re.compile(r"\*\*\* CRASH DETECTED ON PREVIOUS BOOT \*\*\*", _I)
REPORT_LINE = re.compile(
    r"\[E\]\[esp32\.crash:\d+\].*?(?:Reason: |Crashed core: |(?:PC|BT\d+):\s+0x[0-9a-f]{8})", _I
)
"""A line of the report by itself: its head was lost."""
REPORT_REASON = re.compile(
    r"Reason:\s+(?P<type>[A-Za-z ]+?)(?: - (?P<reason>.+?))?"
    r"(?:\s*\((?:exc)?cause[ =]\d+\))?\s*(?:Crashed core.*)?$",
    _I,
)
REPORT_CORE = re.compile(r"Crashed core:\s*(?P<core>\d)", _I)
REPORT_PC = re.compile(rf"(?<![A-Za-z_])PC:\s*(?P<pc>{ADDRESS})", _I)
REPORT_BT = re.compile(rf"(?<![A-Za-z_])BT\d+:\s*(?P<pc>{ADDRESS})", _I)
REPORT_HINT = re.compile(r"Use: addr2line", _I)
STATUS_JSON = re.compile(
    r'"Exception":\s*(?P<cause>\d+),\s*"Reason":\s*"(?P<reason>[^"]*)",\s*"EPC":\s*\[?"(?P<pc>(?:0x)?[0-9a-f]{8})"',
    _I,
)
STATUS_ADDRESS = re.compile(r'"EXCVADDR":\s*"(?P<address>(?:0x)?[0-9a-f]{8})"', _I)
STATUS_CHAIN = re.compile(r'"CallChain":\s*\[(?P<chain>[^\]]*)', _I)

# -- other run times -----------------------------------------------------------------------------

RUST_HEAD = re.compile(
    r"={8,}\s*PANIC\s*={8,}|panicked at (?=['\"]|\S*[/\\]|\S+\.rs)|!! A panic occurr?ed"
    r"|^\s*Exception occurr?ed (?:on \w+ )?'",
    _I,
)
RUST_CAUSE = re.compile(
    rf"Exception '(?P<reason>[^']+)' mepc=(?P<pc>{BARE_ADDRESS})"
    rf"(?:, mtval=(?P<address>{BARE_ADDRESS}))?",
    _I,
)
RUST_CAUSE_OLD = re.compile(
    r"Exception occurr?ed (?:on (?P<core>ProCpu|AppCpu) )?'(?P<reason>[^']+)'", _I
)
ZEPHYR = re.compile(
    r"ZEPHYR FATAL ERROR \d+: (?P<reason>.+?)(?: on CPU (?P<core>\d))?\s*$|\*\* FATAL EXCEPTION", _I
)
ZEPHYR_CAUSE = re.compile(
    r"\*\* CPU (?P<core>\d) EXCCAUSE (?P<cause>\d{1,3})(?: \((?P<reason>[^)]+)\))?", _I
)
ZEPHYR_PC = re.compile(
    rf"(?<!\w)PC (?P<pc>{ADDRESS})(?: VADDR (?P<address>0x[0-9a-f]{{1,8}}|0(?!x)|\(nil\)))?", _I
)
ZEPHYR_RISCV = re.compile(r"(?<!\w)mcause: (?P<cause>\d+), (?P<reason>[A-Za-z][\w /]*\w)\s*$", _I)
"""`<err> os:  mcause: 5, Load access fault` (Zephyr's RISC-V port)."""
ZEPHYR_RISCV_VALUE = re.compile(
    r"(?<!\w)(?P<name>mtval|mepc): (?:0x)?(?P<value>[0-9a-f]{1,16})\s*$", _I
)
NUTTX_PANIC = re.compile(
    r"user_panic: User Exception: EXCCAUSE=(?P<cause>[0-9a-f]{4})(?:\s+task: (?P<task>.+?))?\s*$",
    _I,
)
NUTTX_EXCEPTION = re.compile(r"riscv_exception: EXCEPTION: (?P<reason>[^.]+)\.", _I)
NUTTX_REGISTERS = re.compile(r"dump_register:\s+PC: (?P<pc>[0-9a-f]{8})\s", _I)
ROM_FATAL = re.compile(r"Fatal exception ?\(?(?P<cause>\d+)\)?:?\s*\(?(?P<reason>[A-Za-z]+)?", _I)
ROM_EPC = re.compile(rf"(?<![A-Za-z_])epc1=(?P<pc>{ADDRESS}).*?excvaddr=(?P<address>{ADDRESS})", _I)
SANITIZER = re.compile(
    r"(?:ERROR|WARNING): "
    r"(?P<reason>(?:Address|HWAddress|Memory|Thread|Leak|UndefinedBehavior)Sanitizer: .+)",
    _I,
)
RUNTIME_ERROR = re.compile(
    r"(?<!\S)(?P<file>\S+):(?P<line>\d+):\d+: runtime error: (?P<reason>.+)", _I
)
FRAME = re.compile(r"^\s*#\d+ 0x[0-9a-f]+ (?P<frame>in .+)", _I)

# -- bodies --------------------------------------------------------------------------------------

DUMP = re.compile(r"Core\s+(?P<core>\d)\s+register dump(?=:|\W*$)", _I)
REGISTER = re.compile(r"(?<![A-Za-z_])([A-Z][A-Z0-9/]{1,9})\s*:\s*(0x[0-9a-f]{8})(?![0-9a-f])", _I)
BACKTRACE = re.compile(r"(?<![A-Za-z_])Backtrace:", _I)
FRAME_PAIR = re.compile(r"(0x[0-9a-f]{8})\s?:(?:\s?0x[0-9a-f]{0,8})?", _I)
BARE = re.compile(r"(?<!\S)0x[0-9a-f]{8}(?!\S)", _I)
LIST_ONLY = re.compile(r"^(?:\s*0x[0-9a-f]{8})+\s*$", _I)
PAIRS_ONLY = re.compile(r"^(?:\w{0,9}:)?\s*(?:0x[0-9a-f]{8}:0x[0-9a-f]{0,8}\s*){2,}", _I)
"""A backtrace that lost its head; not the command line of an addr2line."""
MORE_FRAMES = re.compile(r"^[0-9a-fx:\s]*(?:0x|:)[0-9a-fx:\s]*(?:\|(?:<-?\w*)?)?$", _I)
STACK_LINE = re.compile(r"(?P<at>[0-9a-f]{8}): (?P<words>(?:0x[0-9a-f]{8}[ \t]*){1,8})", _I)
WORD = re.compile(ADDRESS, _I)
ELF_SHA = re.compile(r"ELF file SHA256:\s*(?P<sha>[0-9a-f]{6,64})", _I)
REBOOTING = re.compile(r"^Rebooting\.\.\.|CPU halted\.|Entering gdb stub now", _I)
DUMP_START = re.compile(r"=+ (?:ESP32\S* )?CORE DUMP START =+", _I)
"""On the UART, or as `esp-coredump info_corefile` heads its report."""
DUMP_END = re.compile(r"=+ CORE DUMP END =+", _I)
BASE64 = re.compile(r"^[A-Za-z0-9+/]{4,}={0,2}$")
FAULTING = re.compile(r"faulting address: (?P<address>0x[0-9a-f]{8})", _I)
CRASHED_TASK = re.compile(r"Crashed task handle: 0x[0-9a-f]{8}, name: '(?P<task>[^']*)'", _I)
"""Of `esp-coredump info_corefile`."""
DETECTED_IN = re.compile(rf'Detected in task "(?P<task>[^"]*)"(?: at (?P<at>{ADDRESS}))?', _I)
TERMINATE_FRAME = re.compile(rf"{ADDRESS}: \S*::__terminate\(", _I)
DECODED = re.compile(r"^(?:---\s+)?(?:Decoded backtrace:|Decoding stack results)", _I)
DECODED_FRAME = re.compile(rf"^(?P<pc>{ADDRESS}): \S.* at \S+:(?:\d+|\?)", _I)

# -- boots ---------------------------------------------------------------------------------------

BOOT_SPLIT = re.compile(
    r"(?=(?<![A-Za-z_])rst:\s*0x[0-9a-f])|(?=ESP-ROM:esp)|(?=ets [A-Z][a-z]{2} +\d+ 20\d\d)", _I
)
RESET = re.compile(
    r"(?<![A-Za-z_])rst:\s*(?P<code>0x[0-9a-f]+)(?:\s*\((?P<name>[^)]*)\))?"
    r"(?:\s*,\s*boot:\s*(?P<boot>0x[0-9a-f]+)?(?:\s*\((?P<mode>.*)\))?)?",
    _I,
)
BANNER = re.compile(r"ESP-ROM:esp|ets [A-Z][a-z]{2} +\d+ 20\d\d", _I)
APP_VERSION = re.compile(r"App version:\s+(?P<version>\S+)", _I)
APP_SHA = re.compile(r"(?:app_init|cpu_start): ELF file SHA256:\s+(?P<sha>[0-9a-f]{6,64})", _I)
BOOT_FAILED = re.compile(
    r"invalid header: \S+|flash read err, \d+|csum err:\S+|Checksum fail\w*\..*"
    r"|No bootable app partitions.*|Factory app partition is not bootable"
    r"|load partition table error!|ets_main\.c \d+",
    _I,
)
UPTIME = re.compile(r"(?:^|\W)[EWIDV] \((?P<ms>\d{1,13})\) ")
WATCHDOG_RESET = re.compile(r"WDT|LOCKUP|GLITCH", _I)
