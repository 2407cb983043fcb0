"""A crash while it is being read: evidence gathered, fields filled first come, first kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.console.crash import chips
from rig.history.crash import CrashRecord

SPECIFIC = (
    "heap_corruption", "stack_smash", "stack_overflow", "cpp_terminate", "memprot", "ubsan",
    "sanitizer", "brownout", "task_wdt", "int_wdt", "assert", "abort", "panic", "coredump",
    "process",
)  # fmt: skip
"""Kinds, most specific first: a crash is named after the first of these that it shows."""

TEXT_LINES = 400
"""The most lines of its own text that a record keeps."""
DUMP_CHARS = 1 << 20
"""The most characters of a core dump that are kept (a chip's whole RAM in base64 is 700,000)."""
STACK_LINES = 256
FRAMES = 256


def number_of(address: str | None) -> int | None:
    """The value of a printed address, or None."""
    try:
        return int(address, 16) if address else None
    except ValueError:
        return None


@dataclass(slots=True)
class Draft:
    """What is known of an open crash, and how far its text has come."""

    line: int
    previous_boot: bool = False
    """It is a report of the boot before, not a crash of this one."""
    spoken: bool = False
    """Its first line speaks of a crash; whether it is one, what follows must tell."""
    evidence: list[str] = field(default_factory=list)
    reason: str | None = None
    weak_reason: str | None = None
    core: int | None = None
    task: str | None = None
    pc: str | None = None
    address: str | None = None
    registers: dict[str, str] = field(default_factory=dict)
    dumped: bool = False
    """A register dump is complete; the next one is another core's."""
    backtrace: list[str] = field(default_factory=list)
    traced: bool = False
    corrupted: bool = False
    stack: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    asserted: Mapping[str, str] = field(default_factory=dict)
    elf: str | None = None
    firmware: str | None = None
    chip: str | None = None
    uptime: int | None = None
    reset_reason: str | None = None
    before: tuple[str, ...] = ()
    text: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    body_done: bool = False
    """Its backtrace or stack memory was printed: what is printed after is no part of it."""
    dumping: bool = False
    """A core dump is being printed, in which it may crash again."""
    dump: list[str] = field(default_factory=list)
    """Base64 lines of the core dump."""
    dump_room: int = 0
    """Characters that it may still grow by; none before its first line."""
    lead: str = ""
    """What an unknown host put in front of its last line; see `without_lead`."""
    open_line: str | None = None
    """A backtrace's line so far, while a terminal may have wrapped it."""
    decoded_only: bool = False
    """Only decoded frames are left of it."""
    ended: bool = False
    """`Rebooting...` or the banner of the next boot was seen."""
    booted: int = 0
    """Lines since the banner of the next boot."""
    went_on: int = 0
    """Ordinary log records since its last evidence."""
    quiet: int = 0
    """Lines of any other kind since its last evidence."""

    def witness(self, kind: str) -> None:
        """More evidence of this crash was read."""
        if len(self.evidence) < 64:
            self.evidence.append(kind)
        self.touched()

    def touched(self) -> None:
        """A line of this crash was read."""
        self.went_on = self.quiet = 0

    def blank(self) -> None:
        """An empty line was read: no evidence of anything."""
        if self.booted:
            self.booted += 1
        else:
            self.quiet += 1
        if not self.ended and len(self.text) < TEXT_LINES:
            self.text.append("")

    @property
    def special(self) -> bool:
        """Whether lines of no form of their own may belong to it."""
        return self.previous_boot or self.open_line is not None or self.dumping or self.decoded_only

    @property
    def has_body(self) -> bool:
        """Whether registers, a backtrace or a dump were read."""
        return bool(self.registers or self.backtrace or self.stack or self.dump or self.frames)

    @property
    def kind(self) -> str:
        """Its most specific kind."""
        if len(self.evidence) == 1:
            return self.evidence[0]
        return min(self.evidence, key=SPECIFIC.index)

    def add_registers(self, row: Mapping[str, str]) -> None:
        """Keep registers of the first dump."""
        known = self.registers
        if known and not self.dumped:
            self.dumped = ("PC" if "PC" in known else "MEPC") in known.keys() & row.keys()
        if self.dumped:
            return
        if known.keys().isdisjoint(row):
            known.update(row)
        else:
            for name, value in row.items():
                known.setdefault(name, value)
        self.pc = self.pc or row.get("PC") or row.get("MEPC")
        self.address = self.address or row.get("EXCVADDR") or row.get("MTVAL")

    def build(self) -> CrashRecord:
        """The record, as complete as the text was."""
        arch = chips.arch_of_registers(self.registers) or chips.arch_of_chip(self.chip)
        if "sanitizer" in self.evidence:
            arch = "host"
        trace = self.backtrace
        if not trace and arch == "riscv":
            # The ROM of the ESP32-P4 says PC where ESP-IDF says MEPC.
            first = "MEPC" if "MEPC" in self.registers else "PC"
            if first in self.registers:
                trace = [self.registers[name] for name in (first, "RA") if name in self.registers]
        chip = self.chip
        if chip is None:
            stack = number_of(self.registers.get("SP") or self.registers.get("A1"))
            code = number_of(trace[0] if trace else self.pc)
            chip = chips.chip_of_addresses(arch, code, stack)
        line = self.asserted.get("line")
        return CrashRecord(
            kind=self.kind,
            line=self.line,
            reason=self.reason or self.weak_reason,
            chip=chip,
            arch=arch,
            core=self.core,
            task=self.task,
            pc=self.pc,
            excvaddr=self.address,
            registers=self.registers,
            backtrace=tuple(trace[:FRAMES]),
            stack_memory=tuple(self.stack),
            assert_expr=self.asserted.get("expr"),
            assert_file=self.asserted.get("file"),
            assert_line=int(line) if line and len(line) < 10 else None,
            assert_func=self.asserted.get("func"),
            elf_sha256=self.elf,
            firmware=self.firmware,
            uptime_ms=self.uptime,
            reset_reason=self.reset_reason,
            corrupted=self.corrupted,
            kinds=tuple(self.evidence),
            before=self.before,
            text=tuple(self.text),
            core_dump=tuple(self.dump),
            frames=tuple(self.frames),
        )
