"""The lines that decide that something crashed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from rig.console.crash import bodies, chips, forms
from rig.console.crash.draft import Draft
from rig.console.crash.line import Handler, Line
from rig.console.crash.text import LIKE, bracketed

if TYPE_CHECKING:
    from rig.console.crash.reader import CrashReader


def _heap(reader: CrashReader, line: Line) -> bool:
    if not (match := forms.HEAP.search(line.text)):
        return False
    draft = reader.crash("heap_corruption", line)
    draft.reason = draft.reason or match["reason"].strip() or None
    return True


def _overflow(reader: CrashReader, line: Line) -> bool:
    match = forms.OVERFLOW.search(line.text) or forms.OVERFLOW_TORN.search(line.text)
    if not match:
        return False
    draft = reader.crash("stack_overflow", line)
    draft.reason = draft.reason or "A stack overflow in task ... has been detected"
    draft.task = draft.task or match["task"]
    return True


def _smashed(reader: CrashReader, line: Line) -> bool:
    if not (match := forms.SMASHED.search(line.text)):
        return False
    draft = reader.crash("stack_smash", line)
    draft.reason = draft.reason or match[0]
    return True


def _terminate(reader: CrashReader, line: Line) -> bool:
    if not (match := forms.TERMINATE.match(line.body) or forms.TERMINATE.search(line.text)):
        return False
    draft = reader.crash("cpp_terminate", line)
    draft.reason = draft.reason or match[0]
    return True


def _process(reader: CrashReader, line: Line) -> bool:
    if not forms.PROCESS_ENDED.fullmatch(line.text):
        return False
    draft = reader.crash("process", line)
    draft.reason = draft.reason or line.text
    return True


def _undefined(reader: CrashReader, line: Line) -> bool:
    if not (match := forms.UNDEFINED.search(line.text)):
        return False
    draft = reader.crash("ubsan", line)
    draft.reason = draft.reason or match[0]
    return True


def _check_failed(reader: CrashReader, line: Line) -> bool:
    """ESP_ERROR_CHECK says why it is going to abort.

    Its sister that goes on says ESP_ERROR_CHECK_WITHOUT_ABORT.
    """
    if not (match := forms.CHECK_FAILED.search(line.text)):
        return False
    reader.check_failed(match[0], line)
    return True


def _assert(reader: CrashReader, line: Line) -> bool:
    if "internal-error" in line.low:
        return False  # GDB's own, while it read a core dump
    found = _asserted(line)
    if found is None:
        return False
    draft = reader.crash("assert", line)
    draft.task = draft.task or found.get("task")
    if not draft.asserted:
        draft.asserted = found
        draft.weak_reason = draft.weak_reason or _words(found)
    return True


def _words(found: Mapping[str, str]) -> str:
    place = ":".join(found[key] for key in ("file", "line") if key in found)
    return " ".join(
        ["assert failed:", *(v for v in (found.get("func"), place, found.get("expr")) if v)]
    )


def _asserted(line: Line) -> Mapping[str, str] | None:
    """The parts of an assertion in any of its spellings, or None."""
    # Without its prefix first: a path may follow a time stamp without a space.
    return _asserted_in(line.body) or _asserted_in(line.text)


@lru_cache(LIKE)
def _asserted_in(text: str) -> Mapping[str, str] | None:
    form: re.Pattern[str]
    for form in (
        forms.ASSERT_NEW, forms.ASSERT_RTOS, forms.ASSERT_OLD, forms.ASSERT_ROM,
        forms.ASSERT_BLE, forms.ASSERT_NUTTX, forms.ASSERT_PATH, forms.ASSERT_HOST,
        forms.ASSERT_TORN,
    ):  # fmt: skip
        if match := form.search(text):
            groups = match.groupdict()
            found = {name.rstrip("23"): value.strip() for name, value in groups.items() if value}
            if found.pop("open", None):
                expr = bracketed(text, match.start("open"))
                if expr:
                    found["expr"] = expr.strip()
            return found
    return None


def _panicked(reader: CrashReader, line: Line) -> bool:
    found = _panic_in(line.text, line.body)
    if found is None:
        return False
    kind, core, reason = found
    draft = reader.crash(kind, line)
    draft.reason = draft.reason or reason
    if draft.core is None:
        draft.core = core
    return True


@lru_cache(LIKE)
def _panic_in(text: str, body: str) -> tuple[str, int | None, str | None] | None:
    """Kind, core and reason of a panic's first line, or of what is left of it."""
    core = reason = None
    if match := forms.PANICKED.search(text):
        core, reason = match["core"], bracketed(text, match.start("open"))
        if reason and text.find(")", match.end()) < 0:
            torn = forms.REASON.match(reason.strip())
            reason = chips.completed(torn[0]) if torn else None
    elif match := forms.PANICKED_OLD.search(text):
        core, reason = match["core"], match["reason"]
    elif match := forms.GURU.search(text):
        core = match["core"]
    elif match := forms.PANICKED_TORN.match(body) or forms.UNHANDLED.search(text):
        reason = match["reason"]
    elif not forms.GURU_TORN.match(body):
        return None
    kind = chips.kind_of(reason) if reason else "panic"
    return kind, None if core is None else int(core), reason.strip() if reason else None


def _canary(reader: CrashReader, line: Line) -> bool:
    if not (match := forms.CANARY.search(line.text)):
        return False
    draft = reader.crash("stack_overflow", line)
    draft.task = draft.task or (match["task"] or "").strip() or None
    if (draft.reason or "").lower() in ("", "unhandled debug exception"):
        draft.reason = "Stack canary watchpoint triggered"
    if draft.evidence[:1] == ["panic"]:
        draft.evidence[0] = "stack_overflow"
    return True


def _abort(reader: CrashReader, line: Line) -> bool:
    if not (match := forms.ABORT.search(line.text)):
        return False
    draft = reader.crash("abort", line)
    draft.weak_reason = draft.weak_reason or reader.why()
    draft.pc = draft.pc or match["pc"]
    if draft.core is None and match["core"]:
        draft.core = int(match["core"])
    return True


def _brownout(reader: CrashReader, line: Line) -> bool:
    if not (match := forms.BROWNOUT.search(line.text)):
        return False
    draft = reader.crash("brownout", line)
    draft.reason = draft.reason or match[0]
    return True


def _again(reader: CrashReader, line: Line) -> bool:
    if not forms.PANIC_AGAIN.search(line.text):
        return False
    if reader.open is not None and not reader.open.ended:
        reader.open.touched()
    else:
        reader.crash("panic", line)
    return True


def _failure(reader: CrashReader, line: Line) -> bool:
    """LMIC's assertion: a bare `FAILURE`, and its place on the next line."""
    if line.body == "FAILURE":
        reader.failure = reader.number
    return False


def failure_at(reader: CrashReader, line: Line) -> bool:
    """The line after a bare `FAILURE`: an assertion, if it names a place."""
    at, reader.failure = reader.failure, None
    if at is None or not (match := forms.FAILURE_AT.match(line.body)):
        return False
    draft = reader.crash("assert", line, at=at)
    draft.asserted = draft.asserted or {"file": match["file"], "line": match["line"]}
    return True


def _rust(reader: CrashReader, line: Line) -> bool:
    text = line.text
    cause = forms.RUST_CAUSE.search(text)
    old = forms.RUST_CAUSE_OLD.search(text)
    if not (cause or old or forms.RUST_HEAD.search(text)):
        return False
    draft = reader.crash("panic", line)
    if cause:
        draft.reason = draft.reason or cause["reason"]
        draft.pc = draft.pc or cause["pc"]
        draft.address = draft.address or cause["address"]
        if cause["pc"] and not draft.backtrace:
            draft.backtrace = [cause["pc"]]
    elif old:
        draft.reason = draft.reason or old["reason"]
        if old["core"]:
            draft.core = 0 if old["core"].lower() == "procpu" else 1
    elif "panicked at " in line.low:
        at = line.low.index("panicked at ")
        draft.weak_reason = draft.weak_reason or text[at:]
    return True


def _zephyr(reader: CrashReader, line: Line) -> bool:
    if match := forms.ZEPHYR.search(line.text):
        draft = reader.crash("panic", line)
        draft.weak_reason = draft.weak_reason or match["reason"]
        if draft.core is None and match["core"]:
            draft.core = int(match["core"])
        return True
    if reader.open is None or reader.open.ended:
        return False
    draft = reader.open
    cause = forms.ZEPHYR_CAUSE.search(line.text)
    if cause:
        words = cause["reason"] or chips.XTENSA_CAUSES.get(int(cause["cause"]))
        draft.reason = draft.reason or words
        draft.core = int(cause["core"]) if draft.core is None else draft.core
    where = forms.ZEPHYR_PC.search(line.text)
    if where:
        draft.pc = draft.pc or where["pc"]
        if where["address"] and where["address"].startswith("0x"):
            draft.address = draft.address or where["address"]
    return bool(cause or where)


def _zephyr_riscv(reader: CrashReader, line: Line) -> bool:
    if match := forms.ZEPHYR_RISCV.search(line.text):
        draft = reader.crash("panic", line)
        draft.reason = draft.reason or match["reason"]
        return True
    if reader.open is None or reader.open.ended:
        return False
    if not (value := forms.ZEPHYR_RISCV_VALUE.search(line.text)):
        return False
    draft = reader.open
    if value["name"].lower() == "mepc":
        draft.pc = draft.pc or value["value"]
    else:
        draft.address = draft.address or value["value"]
    draft.touched()
    return True


def _nuttx(reader: CrashReader, line: Line) -> bool:
    if match := forms.NUTTX_PANIC.search(line.text):
        draft = reader.crash("panic", line)
        draft.reason = draft.reason or chips.XTENSA_CAUSES.get(int(match["cause"], 16))
        draft.task = draft.task or match["task"]
        return True
    if match := forms.NUTTX_EXCEPTION.search(line.text):
        draft = reader.crash("panic", line)
        draft.reason = draft.reason or match["reason"]
        return True
    if reader.open is not None and (match := forms.NUTTX_REGISTERS.search(line.text)):
        reader.open.pc = reader.open.pc or match["pc"]
        return True
    return False


def _rom(reader: CrashReader, line: Line) -> bool:
    """The ROM's own exception handler, before any application runs."""
    if match := forms.ROM_FATAL.search(line.text):
        draft = reader.crash("panic", line)
        cause = chips.XTENSA_CAUSES.get(int(match["cause"][:4]))
        draft.reason = draft.reason or match["reason"] or cause
    elif match := forms.ROM_EPC.search(line.text):
        draft = reader.crash("panic", line)
    else:
        return False
    if match := forms.ROM_EPC.search(line.text):
        draft.pc = draft.pc or match["pc"]
        draft.address = draft.address or match["address"]
    return True


def _sanitizer(reader: CrashReader, line: Line) -> bool:
    if match := forms.SANITIZER.search(line.text):
        draft = reader.crash("sanitizer", line)
        draft.reason = draft.reason or match["reason"]
        return True
    if match := forms.RUNTIME_ERROR.search(line.text):
        draft = reader.crash("ubsan", line)
        draft.reason = draft.reason or match["reason"]
        draft.asserted = draft.asserted or {"file": match["file"], "line": match["line"]}
        return True
    return False


def _report(reader: CrashReader, line: Line) -> bool:
    """ESPHome's report of the boot before."""
    head = forms.REPORT.search(line.text) is not None
    # Without its head, unless it is the rest of a report, between other lines.
    if not head and (reader.reported or not forms.REPORT_LINE.search(line.text)):
        return False
    reader.reported = True
    reader.flush_open()
    draft = reader.begin(Draft(reader.number, previous_boot=True))
    draft.witness("panic")
    if not head:
        bodies.special(reader, line)
    return True


def _status(reader: CrashReader, line: Line) -> bool:
    """Tasmota's crash recorder: `STATUS12 = {"StatusSTK":{"Exception":28,...}}`."""
    if not (match := forms.STATUS_JSON.search(line.text)):
        return False
    reader.flush_open()
    draft = reader.crash("panic", line)
    cause = chips.XTENSA_CAUSES.get(int(match["cause"][:4]))
    said = match["reason"]
    draft.reason = said if said.lower() not in ("exception", "unknown", "") else cause or said
    draft.pc = match["pc"]
    if address := forms.STATUS_ADDRESS.search(line.text):
        draft.address = address["address"]
    if chain := forms.STATUS_CHAIN.search(line.text):
        draft.backtrace = re.findall(r"(?:0x)?[0-9a-f]{8}", chain["chain"], re.IGNORECASE)
    draft.body_done = True
    draft.text.append(line.text)
    reader.flush_open()
    return True


TABLE: tuple[tuple[tuple[str, ...], Handler], ...] = (
    (("failure",), _failure),
    (("crash detected", "esp32.crash"), _report),
    (('"exception"',), _status),
    (("corrupt heap",), _heap),
    (("stack overflow in",), _overflow),
    (("stack smashing",), _smashed),
    (("terminate called",), _terminate),
    (("process ended",), _process),
    (("undefined behav",), _undefined),
    (("error_check failed",), _check_failed),
    (("assert",), _assert),
    (("guru med", "panic'", "panic`", "paniced", "ed (", "was unhandled"), _panicked),
    (("canary watchpoint",), _canary),
    (("abort() was", "called at pc"), _abort),
    (("brownout detector",), _brownout),
    (("entered multiple", "re-entered core"), _again),
    (("panicked at", "= panic =", "exception '", "exception occur", "a panic occur"), _rust),
    (("zephyr fatal", "** fatal exc", "pc 0x", "** cpu "), _zephyr),
    (("mcause: ", "mtval: ", "mepc: "), _zephyr_riscv),
    (("user exception", "riscv_exception", "dump_register"), _nuttx),
    (("fatal exception", "epc1=0x"), _rom),
    (("sanitizer", "runtime error"), _sanitizer),
)
