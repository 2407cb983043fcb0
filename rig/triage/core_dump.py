"""Core dumps: what every task was doing when the firmware crashed.

ESP-IDF prints them in base64 between `CORE DUMP START` and `CORE DUMP END`, or keeps them in flash.
Espressif's esp-coredump takes them apart, in a process of its own (`core_worker`); what a task's
stack says is read here, without a GDB.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import select
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import msgspec

from rig.console.crash.draft import DUMP_CHARS
from rig.triage import cfi

TIMEOUT = 20.0
"""Seconds until a core dump is given up."""
FRAMES = 64
"""No stack is followed further."""
STACK = 64 * 1024
"""Bytes of a stack that are looked at."""
LOST = 5
"""After so many core dumps that its process did not survive, no more are tried."""
KEPT = 64
"""So many core dumps are remembered, for logs that repeat one."""
_NAME_AT = 52
"""Of `pcTaskName` in ESP-IDF's task control block: after the top of the stack, two list items of 20
bytes, the priority and the stack's start (FreeRTOS `tasks.c`)."""
_NAME = 16


class _Task(msgspec.Struct):
    handle: int
    registers: dict[str, int]


class _Answer(msgspec.Struct):
    chip: str | None = None
    arch: str | None = None
    elf: str | None = None
    panic: str | None = None
    crashed: int | None = None
    exception: dict[str, int] = {}
    tasks: list[_Task] = []
    memory: list[tuple[int, str]] = []
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CoreTask:
    """A task in a core dump. Its registers are named as a panic names them."""

    handle: int
    """Address of its control block."""
    name: str | None
    crashed: bool
    registers: dict[str, int]
    stack_at: int = 0
    stack: bytes = b""
    """What the dump holds of its stack, from just below the stack pointer up."""

    @property
    def pointer(self) -> int:
        """Its stack pointer."""
        return self.registers.get("SP", self.registers.get("A1", 0))


@dataclass(frozen=True, slots=True)
class CoreDump:
    """What a core dump holds; `error` says why it holds nothing."""

    chip: str | None = None
    arch: str | None = None
    elf_sha256: str | None = None
    panic: str | None = None
    """The panic's details as the firmware kept them: an assertion's text, the watchdog's tasks."""
    exception: dict[str, int] = field(default_factory=dict)
    """EXCCAUSE and EXCVADDR, on Xtensa."""
    tasks: tuple[CoreTask, ...] = ()
    """The crashed one first."""
    error: str | None = None


class CoreReader:
    """Takes core dumps apart. Bounded in time and memory; never raises on what a board printed.

    Its process starts with the first core dump and ends with `close` (or with this process).
    """

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._worker: subprocess.Popen[bytes] | None = None
        self._known: dict[bytes, CoreDump] = {}
        self._lost = 0

    def read(self, lines: Sequence[str]) -> CoreDump:
        """What the base64 lines of a core dump hold."""
        raw = _decoded(lines)
        if isinstance(raw, str):
            return CoreDump(error=raw)
        key = hashlib.sha256(raw).digest()
        found = self._known.get(key)
        if found is None:
            found = _understood(self._ask(raw))
            while len(self._known) >= KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = found
        return found

    def _ask(self, raw: bytes) -> _Answer:
        if self._lost >= LOST:
            return _Answer(error=f"its reader was lost to {LOST} core dumps before it")
        try:
            worker = self._started()
            assert worker.stdin is not None
            worker.stdin.write(base64.b64encode(raw) + b"\n")
            worker.stdin.flush()
            line = self._answer(worker)
        except OSError as error:
            self._lost += 1
            self.close()
            return _Answer(error=f"its reader could not be started: {error.strerror or error}")
        if line is None:
            self._lost += 1
            self.close()
            return _Answer(error=f"reading it took more than {self._timeout:g} s, or ended badly")
        try:
            return msgspec.json.decode(line, type=_Answer)
        except msgspec.DecodeError as error:
            return _Answer(error=str(error))

    def _started(self) -> subprocess.Popen[bytes]:
        if self._worker is None or self._worker.poll() is not None:
            self._worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "rig.triage.core_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Ctrl-C ends this process; it, and not the terminal, ends the worker.
                start_new_session=True,
            )
        return self._worker

    def _answer(self, worker: subprocess.Popen[bytes]) -> bytes | None:
        """A line of the worker, or None where none came in time."""
        assert worker.stdout is not None
        parts: list[bytes] = []
        while select.select([worker.stdout], [], [], self._timeout)[0]:
            part = os.read(worker.stdout.fileno(), 1 << 20)
            parts.append(part)
            if not part:
                return None
            if part.endswith(b"\n"):
                return b"".join(parts)
        return None

    def close(self) -> None:
        """End the worker; idempotent."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        pass  # what it did not read any more

    def __del__(self) -> None:
        self.close()


@cache
def shared() -> CoreReader:
    """The reader of this process: its worker takes half a second to start."""
    return CoreReader()


def _decoded(lines: Sequence[str]) -> bytes | str:
    """The bytes of a core dump, or why there are none. ESP-IDF encodes each line by itself."""
    if sum(map(len, lines)) >= DUMP_CHARS:
        return f"it is longer than {DUMP_CHARS} characters"
    try:
        return b"".join(base64.b64decode(line, validate=True) for line in lines)
    except (binascii.Error, ValueError):
        return "a line of it is no base64: it was torn, or is not complete"


def _understood(answer: _Answer) -> CoreDump:
    if answer.error is not None:
        return CoreDump(error=answer.error)
    memory = _Memory([(at, base64.b64decode(data)) for at, data in answer.memory])
    seen: set[int] = set()
    tasks = []
    for task in answer.tasks:
        if task.handle in seen:
            continue
        seen.add(task.handle)
        pointer = task.registers.get("SP", task.registers.get("A1", 0))
        # Xtensa keeps a caller's registers just below the stack pointer.
        at = pointer - 16 if memory.read(pointer - 16, 1) else pointer
        name = _name(memory.read(task.handle, 160))
        crashed = task.handle == answer.crashed
        stack = memory.read(at, STACK)
        tasks.append(CoreTask(task.handle, name, crashed, task.registers, at, stack))
    tasks.sort(key=lambda task: not task.crashed)
    return CoreDump(
        answer.chip, answer.arch, answer.elf, answer.panic, answer.exception, tuple(tasks)
    )


class _Memory:
    """The memory that a core dump holds."""

    def __init__(self, segments: list[tuple[int, bytes]]) -> None:
        self._segments = sorted(segments)
        self._starts = [at for at, _ in self._segments]

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes from `address`; none where the dump has none."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return b""
        start, data = self._segments[at]
        return data[address - start : address - start + size]


def _name(block: bytes) -> str | None:
    """The task's name in its control block."""
    text, zero, _ = block[_NAME_AT : _NAME_AT + _NAME].partition(b"\0")
    if not text or not zero or not all(32 <= byte < 127 for byte in text):
        return None
    return text.decode("ascii")


def addresses(task: CoreTask, tables: Sequence[cfi.Table]) -> list[int]:
    """Program counters of a task's stack, innermost first.

    Xtensa's windows save each caller's PC and stack pointer below the stack pointer (ESP-IDF
    `esp_backtrace_get_next_frame`); RISC-V needs the ELF's call-frame information.
    """
    if "PC" in task.registers:
        return _windows(task)
    registers = {name: f"0x{value:08x}" for name, value in task.registers.items()}
    words = [
        (task.stack_at + at, (int.from_bytes(task.stack[at : at + 4], "little"),))
        for at in range(0, len(task.stack) & ~3, 4)
    ]
    return cfi.unwind(tables, registers, words)


def _windows(task: CoreTask) -> list[int]:
    pc, caller = task.registers["PC"], task.registers.get("A0", 0)
    pointer = task.pointer
    found = [_code(pc)]
    while caller and len(found) < FRAMES:
        at = pointer - 16 - task.stack_at
        saved = task.stack[max(at, 0) : at + 8]
        if at < 0 or len(saved) < 8:
            break
        found.append(_code(caller))
        caller = int.from_bytes(saved[:4], "little")
        following = int.from_bytes(saved[4:], "little")
        if following <= pointer:
            break  # a stack that does not grow is broken
        pointer = following
    return found


def _code(address: int) -> int:
    """The call that a window's return address belongs to (`esp_cpu_process_stack_pc`)."""
    if address & 0x8000_0000:
        address = (address & 0x3FFF_FFFF) | 0x4000_0000
    return max(address - 3, 0)
