"""One JSON object a log, written as it is found: a log of any size needs no memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import msgspec

from rig.console.crash import Reset, Warned
from rig.history.crash import CrashRecord
from rig.triage.decode import DecodedCrash, Frame, TaskStack
from rig.triage.session import Found, Triaged

SPOOL = 1 << 20
"""Bytes of boots, resets and warnings kept in memory; more goes to a temporary file."""


def crash_fields(found: Triaged) -> dict[str, Any]:
    """The JSON of a crash. Addresses are as printed; what the log does not print is null."""
    record = found.crash.record
    fields: dict[str, Any] = {
        "kind": record.kind,
        "line": record.line,
        "reason": record.reason,
        "core": record.core,
        "pc": record.pc,
        "excvaddr": record.excvaddr,
        "task": record.task,
        "backtrace": list(record.backtrace),
        "decoded": [_frame(frame) for frame in found.crash.frames if frame.function],
        "signature": found.signature,
        "kinds": list(record.kinds),
        "chip": record.chip,
        "arch": record.arch,
        "registers": record.registers,
        "assert": _assert(record),
        "corrupted": record.corrupted,
        "elf_sha256": record.elf_sha256,
        "firmware": record.firmware,
        "uptime_ms": record.uptime_ms,
        "reset_reason": record.reset_reason,
        "before": list(record.before),
        "core_dump": _core_dump(found.crash),
        "notes": list(found.crash.notes),
    }
    if found.remembered is not None:
        known = found.remembered
        fields["bucket"] = known.bucket
        fields["mark"] = known.mark
        fields["regression"] = known.regression
        fields["new"] = known.new_bucket
    return fields


def _frame(frame: Frame) -> dict[str, Any]:
    return {
        "address": frame.address,
        "function": frame.function,
        "file": frame.file,
        "line": frame.line,
        "inlined": frame.inlined,
        "source": frame.source,
    }


def _core_dump(crash: DecodedCrash) -> dict[str, Any] | None:
    if not crash.tasks:
        return None
    return {"panic": crash.panic, "tasks": [_task(task) for task in crash.tasks]}


def _task(task: TaskStack) -> dict[str, Any]:
    return {
        "name": task.name,
        "handle": task.handle,
        "crashed": task.crashed,
        "registers": task.registers,
        "stack": {"start": task.stack_start, "bytes": task.stack_bytes},
        "backtrace": list(dict.fromkeys(frame.address for frame in task.frames)),
        "decoded": [_frame(frame) for frame in task.frames if frame.function],
    }


def _assert(record: CrashRecord) -> dict[str, Any] | None:
    fields = {
        "expr": record.assert_expr,
        "file": record.assert_file,
        "line": record.assert_line,
        "func": record.assert_func,
    }
    return fields if any(value is not None for value in fields.values()) else None


def _boot(reset: Reset) -> dict[str, Any]:
    return {
        "line": reset.line,
        "chip": reset.chip,
        "boot": None if reset.boot is None else f"{reset.boot:#x}",
        "mode": reset.boot_mode,
        "after_crash": reset.after_crash,
    }


def _reset(reset: Reset) -> dict[str, Any]:
    return {
        "line": reset.line,
        "code": f"{reset.code:#x}",
        "reason": reset.name,
        "silent": reset.silent,
    }


def _warning(warned: Warned) -> dict[str, Any]:
    return {
        "line": warned.line,
        "kind": warned.kind,
        "text": warned.text,
        "task": warned.task,
        "backtrace": list(warned.backtrace),
    }


class _Spool:
    """A JSON array that waits for its turn."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(SPOOL)  # noqa: SIM115 (closed by Writer)
        self._any = False

    def add(self, fields: dict[str, Any]) -> None:
        self._file.write((b"," if self._any else b"") + msgspec.json.encode(fields))
        self._any = True

    def pour(self, write: Callable[[bytes], object]) -> None:
        self._file.seek(0)
        write(b"[")
        while block := self._file.read(1 << 16):
            write(block)
        write(b"]")

    def close(self) -> None:
        self._file.close()


class Writer:
    """Writes the object of one log, and its line end when the context ends."""

    def __init__(self, write: Callable[[bytes], object], name: str) -> None:
        self._write = write
        self._boots, self._resets, self._warnings = _Spool(), _Spool(), _Spool()
        self._any = False
        write(b'{"file":' + msgspec.json.encode(name) + b',"crashes":[')

    def add(self, found: Found) -> None:
        """Take one thing found."""
        if isinstance(found, Triaged):
            self._write((b"," if self._any else b"") + msgspec.json.encode(crash_fields(found)))
            self._any = True
        elif isinstance(found, Reset):
            self._boots.add(_boot(found))
            self._resets.add(_reset(found))
        else:
            self._warnings.add(_warning(found))

    def add_all(self, found: Iterable[Found]) -> None:
        """Take all that is found."""
        for one in found:
            self.add(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        # Also when the log broke off: what was found so far is a whole object.
        self._write(b'],"boots":')
        self._boots.pour(self._write)
        self._write(b',"resets":')
        self._resets.pour(self._write)
        self._write(b',"warnings":')
        self._warnings.pour(self._write)
        self._write(b"}\n")
        for spool in (self._boots, self._resets, self._warnings):
            spool.close()
