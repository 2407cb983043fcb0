"""The lines of a crash's body: registers, backtraces, stack memory, core dumps, reports."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rig.console.crash import chips, forms
from rig.console.crash.draft import DUMP_CHARS, FRAMES, STACK_LINES
from rig.console.crash.line import Handler, Line
from rig.console.crash.text import LIKE, without_lead

if TYPE_CHECKING:
    from rig.console.crash.reader import CrashReader

_ESPHOME_TYPES = {"interrupt wdt": "int_wdt", "task wdt": "task_wdt", "abort": "abort"}
_TELLING = frozenset({"PC", "MEPC", "EXCCAUSE", "EXCVADDR", "MCAUSE", "MTVAL"})


@lru_cache(LIKE)
def _dumped_core(text: str) -> int | None:
    match = forms.DUMP.search(text)
    return int(match["core"]) if match else None


def _dump(reader: CrashReader, line: Line) -> bool:
    """`Core  0 register dump:`, the head of a crash whose first line was lost."""
    core = _dumped_core(line.text)
    if core is None:
        return False
    draft = reader.open
    if _watched(reader):
        return True
    if draft is None or draft.ended or draft.previous_boot:
        draft = reader.headless(line)
    if draft.core is None:
        draft.core = core
    draft.touched()
    return True


def _watched(reader: CrashReader) -> bool:
    """Whether a dump here is a task watchdog's that goes on: it shows what was running."""
    pending, draft = reader.pending, reader.open
    if pending is None or not pending.printing or (draft is not None and not draft.ended):
        return False
    pending.quiet = 0
    return True


def registers(reader: CrashReader, line: Line) -> bool:
    """A row of the register dump."""
    draft = reader.open
    if _watched(reader):
        if reader.pending is not None and not reader.pending.backtrace:
            row = line.registers
            reader.pending.backtrace = [row[name] for name in ("MEPC", "RA") if name in row]
        return True
    if draft is None or draft.ended:
        names = line.registers.keys()
        if not (names & _TELLING and len(names) > 1 and "saved pc" not in line.low):
            return False
        draft = reader.headless(line)
    elif draft.previous_boot:
        return False
    draft.add_registers(line.registers)
    draft.touched()
    return True


def trace(reader: CrashReader, line: Line) -> bool:
    """`Backtrace: 0x400d525d:0x3ffb46b0 ...`, or what is left of it."""
    if line.traced is None:
        lone = len(line.frames) > 1 and forms.PAIRS_ONLY.match(line.body) is not None
        return lone and _found(reader, line, line.text)
    if "decoded backtrace" in line.low:
        return False
    return _found(reader, line, line.traced)


def frames_of(text: str) -> list[str]:
    """The program counters of a backtrace, innermost first."""
    pairs = list(forms.FRAME_PAIR.finditer(text))
    if not pairs:
        return forms.BARE.findall(text) if forms.LIST_ONLY.match(text) else []
    frames = [match[1] for match in pairs]
    tail = text[pairs[-1].end() :]
    if forms.LIST_ONLY.match(tail):
        frames += forms.BARE.findall(tail)
    return frames


def _found(reader: CrashReader, line: Line, rest: str) -> bool:
    frames = list(line.frames)
    draft, pending = reader.open, reader.pending
    if draft is None or draft.ended:
        if pending is not None:
            pending.backtrace = pending.backtrace or frames[:FRAMES]
            return True
        if not frames:
            return False
        if reader.last is not None and reader.same_boot and reader.last.backtrace == line.frames:
            return True  # a decoder prints it again
        draft = reader.headless(line)
    draft.touched()
    if draft.traced and frames and frames[0] not in draft.backtrace:
        return True  # another core's
    if not draft.traced or not draft.backtrace:
        draft.backtrace = frames[:FRAMES] or draft.backtrace
        draft.corrupted = draft.corrupted or "<-CORRUPT" in rest.upper()
    draft.traced = True
    draft.body_done = draft.body_done or bool(frames)
    draft.open_line = None if "|<-" in rest else rest
    draft.lead = line.text[: max(0, line.low.find("backtrace"))]
    return True


def _more(reader: CrashReader, line: Line) -> bool:
    """The rest of a backtrace that a terminal wrapped."""
    draft = reader.open
    if draft is None or draft.open_line is None:
        return False
    whole, draft.open_line = draft.open_line, None
    if not line.body:
        draft.open_line = whole if not draft.backtrace else None
        return True
    more = line.body
    if not forms.MORE_FRAMES.match(more):
        more = without_lead(line.text, draft.lead) or more
    if not forms.MORE_FRAMES.match(more) or len(whole) > 16_384:
        return False
    glue = "" if whole and not whole[-1].isspace() and not more.startswith("0x4") else " "
    joined = whole + glue + more
    draft.backtrace = frames_of(joined)[:FRAMES]
    draft.body_done = bool(draft.backtrace)
    draft.open_line = joined
    draft.touched()
    return True


def _decoded_head(reader: CrashReader, line: Line) -> bool:
    """`Decoded backtrace:` with nothing before it: all that is left of a crash."""
    if not forms.DECODED.match(line.body):
        return False
    if reader.open is None and reader.last is None:
        reader.crash("panic", line).decoded_only = True
    return True


def _decoded(reader: CrashReader, line: Line) -> bool:
    draft = reader.open
    if draft is None or not draft.decoded_only:
        return False
    if not (match := forms.DECODED_FRAME.match(line.body)):
        return False
    if len(draft.backtrace) < FRAMES:
        draft.backtrace.append(match["pc"])
    draft.touched()
    return True


def stack(reader: CrashReader, line: Line) -> bool:
    """A line of the stack memory that a RISC-V panic prints."""
    if _watched(reader):
        return True
    draft = reader.open
    if draft is None or draft.ended or line.stack is None:
        return False
    if len(draft.stack) < STACK_LINES:
        draft.stack.append(line.stack)
    draft.body_done = True
    draft.touched()
    return True


def _elf(reader: CrashReader, line: Line) -> bool:
    sha = _elf_in(line.text)
    if sha is None:
        return False
    draft = reader.open
    if draft is not None and not forms.APP_SHA.search(line.text):
        draft.elf = sha
        draft.touched()
    return True


@lru_cache(LIKE)
def _elf_in(text: str) -> str | None:
    match = forms.ELF_SHA.search(text)
    return match["sha"] if match else None


def _core_dump(reader: CrashReader, line: Line) -> bool:
    draft = reader.open
    if "core dump" in line.low:
        if forms.DUMP_START.search(line.text):
            draft = reader.crash("coredump", line)
            draft.dumping = True
            draft.dump, draft.dump_room = [], DUMP_CHARS
            draft.lead = line.text[: line.text.index("=")]
            return True
        if forms.DUMP_END.search(line.text):
            if draft is not None:
                draft.dumping, draft.dump_room = False, 0
                draft.touched()
            return True
    if draft is not None and "core_dump" in line.low:
        draft.dumping = True
        draft.touched()
        return True
    return False


def _base64(reader: CrashReader, line: Line) -> bool:
    draft = reader.open
    if draft is None or not draft.dumping:
        return False
    text = line.body
    if not forms.BASE64.match(text):
        text = without_lead(line.text, draft.lead) or ""
        if not forms.BASE64.match(text):
            return False
    if draft.dump_room > 0:
        draft.dump.append(text)
        draft.dump_room -= len(text)
    draft.touched()
    return True


def _details(reader: CrashReader, line: Line) -> bool:
    draft = reader.open
    if draft is None or draft.ended:
        return False
    known = False
    if match := forms.FAULTING.search(line.text):
        draft.address = draft.address or match["address"]
        known = True
    if match := forms.DETECTED_IN.search(line.text):
        draft.task = draft.task or match["task"]
        known = True
    if match := forms.CRASHED_TASK.search(line.text):
        draft.task = draft.task or match["task"]
        known = True
    if match := forms.WHAT.match(line.body):
        known = True
        if draft.reason and draft.reason.startswith("terminate") and len(draft.text) < 4:
            draft.weak_reason = match["what"]
    if forms.TERMINATE_FRAME.search(line.text) and "cpp_terminate" not in draft.evidence:
        draft.witness("cpp_terminate")
    if "sanitizer" in draft.evidence and (match := forms.FRAME.match(line.body)):
        if len(draft.frames) < FRAMES:
            draft.frames.append(match["frame"])
        known = True
    if known:
        draft.touched()
    return known


def _report(reader: CrashReader, line: Line) -> bool:
    """The fields of ESPHome's report of the boot before."""
    draft = reader.open
    if draft is None or not draft.previous_boot:
        return False
    known = False
    if match := forms.REPORT_REASON.search(line.text):
        draft.reason = draft.reason or match["reason"] or match["type"]
        kind = _ESPHOME_TYPES.get(match["type"].lower())
        draft.evidence[0] = kind or chips.kind_of(draft.reason)
        known = True
    if match := forms.REPORT_CORE.search(line.text):
        draft.core = int(match["core"])
        known = True
    if match := forms.REPORT_PC.search(line.text):
        draft.pc = draft.pc or match["pc"]
        known = True
    if (match := forms.REPORT_BT.search(line.text)) and len(draft.backtrace) < FRAMES:
        draft.backtrace.append(match["pc"])
        known = True
    if forms.REPORT_HINT.search(line.text):
        reader.flush_open()
        return True
    if known:
        draft.touched()
    return known


def special(reader: CrashReader, line: Line) -> bool:
    """Lines that mean something only because of what was read before them."""
    known = _report(reader, line)
    if line.traced is None:
        known = _more(reader, line) or known
    known = _decoded(reader, line) or known
    return _base64(reader, line) or known


TABLE: tuple[tuple[tuple[str, ...], Handler], ...] = (
    (("register dump",), _dump),
    (("decoded backtrace", "decoding stack"), _decoded_head),
    (("elf file",), _elf),
    (("core dump", "core_dump"), _core_dump),
    (
        ("faulting address", "detected in task", "crashed task", "what():", "__terminate(", "#"),
        _details,
    ),
)
