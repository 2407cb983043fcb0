"""The crash record: all that a board printed about one crash, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashRecord:
    """One distinct crash as read from a serial log.

    Addresses are kept as printed (text), so that nothing is lost by normalising them.
    """

    kind: str
    """panic, abort, assert, stack_overflow, heap_corruption, int_wdt, task_wdt, brownout, rtc_wdt,
    cpp_terminate, stack_smash, memprot, coredump, ubsan, sanitizer, process, boot_failure."""
    line: int
    """1-based line of the log where its first evidence stands."""
    reason: str | None = None
    chip: str | None = None
    arch: str | None = None
    """`xtensa`, `riscv` or `host` (sanitizer reports of the linux target)."""
    core: int | None = None
    task: str | None = None
    pc: str | None = None
    excvaddr: str | None = None
    """Fault address: EXCVADDR on Xtensa, MTVAL on RISC-V."""
    registers: dict[str, str] = field(default_factory=dict)
    backtrace: tuple[str, ...] = ()
    """PCs, innermost first. RISC-V without a printed backtrace: MEPC, RA."""
    stack_memory: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """RISC-V stack dump: (address, words) a line."""
    assert_expr: str | None = None
    assert_file: str | None = None
    assert_line: int | None = None
    assert_func: str | None = None
    elf_sha256: str | None = None
    """Prefix of the ELF's SHA-256, as printed."""
    firmware: str | None = None
    uptime_ms: int | None = None
    reset_reason: str | None = None
    """Reset reason of the boot that followed, when it was seen."""
    corrupted: bool = False
    """The backtrace ended in `|<-CORRUPTED`."""
    kinds: tuple[str, ...] = ()
    """All kinds of evidence that belong to this crash, in text order."""
    before: tuple[str, ...] = ()
    """Log lines before it, oldest first (bounded)."""
    text: tuple[str, ...] = ()
    """The crash's own lines as printed, colours stripped (bounded)."""
    core_dump: tuple[str, ...] = ()
    """The base64 lines of a core dump that was printed with it (bounded; gone once decoded)."""
    frames: tuple[str, ...] = ()
    """Symbolised frames, where the log itself carries them (sanitizer reports)."""
