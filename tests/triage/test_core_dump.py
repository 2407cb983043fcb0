"""Core dumps on the UART: every task, its registers and its stack, without a GDB."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.commands.crashes import command as crashes
from rig.commands.triage import command as triage
from rig.history.crash import CrashRecord
from rig.triage import Decoder, Memory
from rig.triage.core_dump import CoreReader, shared
from rig.triage.core_worker import check

Panic = Callable[..., str]
Records = Callable[[str], list[CrashRecord]]
ElfOf = Callable[[str], Path]
CLOSING = ("httpd_thread", "httpd_server", "httpd_process_ctrl_msg", "httpd_sess_close")


def load(name: str) -> Any:
    """A module beside this file (tests are no package)."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


made = load("core_dumps")


def task_of(record: CrashRecord, handle: int, name: str, moved: int = 0) -> Any:
    """A task that stands where a panic stood, its stack moved up by some bytes."""
    words = [word for _, row in record.stack_memory for word in row]
    stack = b"".join(word.to_bytes(4, "little") for word in words)
    registers = {key: int(value, 16) for key, value in record.registers.items()}
    registers["SP"] += moved
    return made.Task(handle, name, registers, record.stack_memory[0][0] + moved, stack)


@pytest.fixture
def dump(panic: Panic, records: Records, elf_of: ElfOf) -> bytes:
    """A core dump of the model firmware: `httpd` crashed, `ctrl` waits."""
    import hashlib

    (crashed,) = records(panic("v0.6.1", *CLOSING))
    sha = hashlib.sha256(elf_of("v0.6.1").read_bytes()).hexdigest()
    tasks = [task_of(crashed, 0x3FC9_2000, "httpd"), task_of(crashed, 0x3FC8_3000, "ctrl", 0x4000)]
    whole = made.core_dump(tasks, elf_sha256=sha[:16], panic="assert failed: f a.c:1 (x)")
    assert isinstance(whole, bytes)
    return whole


def test_a_core_dump_tells_every_task_and_its_stack(
    dump: bytes, records: Records, elf_of: ElfOf
) -> None:
    (record,) = records("\n".join(made.printed(dump)))
    crash = Decoder([elf_of("v0.6.1")]).decode(record)
    assert [(task.name, task.crashed) for task in crash.tasks] == [("httpd", True), ("ctrl", False)]
    assert [f.function for f in crash.tasks[0].frames] == [*reversed(CLOSING), "vPortTaskWrapper"]
    assert [f.function for f in crash.tasks[1].frames][:2] == [CLOSING[3], CLOSING[2]]
    assert crash.frames == crash.tasks[0].frames
    assert crash.panic == "assert failed: f a.c:1 (x)"
    assert crash.record.core_dump == ()
    assert (crash.record.kind, crash.record.task, crash.record.chip) == (
        "coredump",
        "httpd",
        "esp32c3",
    )
    assert crash.record.pc == crash.tasks[0].registers["MEPC"]


def test_the_elf_is_found_by_the_hash_in_the_core_dump_and_no_other_is_believed(
    dump: bytes, records: Records, elf_of: ElfOf
) -> None:
    (record,) = records("\n".join(made.printed(dump)))
    crash = Decoder([elf_of("v0.5.0")]).decode(record)
    assert crash.tasks[0].frames[0].function is None
    assert any("not decoded" in note for note in crash.notes)
    right = Decoder([elf_of("v0.5.0"), elf_of("v0.6.1")]).decode(record)
    assert right.tasks[0].frames[0].function == "httpd_sess_close"


def test_xtensas_windows_are_followed_without_an_elf(records: Records) -> None:
    chain = [0x400D_1003, 0x400D_2003, 0x400E_3003, 0x4008_4003]
    registers, stack = made.windows(chain, 0x3FFB_8000)
    tasks = [made.Task(0x3FFB_7000, "loopTask", registers, 0x3FFB_8000, stack)]
    dump = made.core_dump(tasks, chip="esp32", exception={0: 28, 1: 0x10})
    (record,) = records("\n".join(made.printed(dump)))
    crash = Decoder().decode(record)
    assert [frame.address for frame in crash.frames] == [f"0x{pc - 3:08x}" for pc in chain]
    assert (crash.record.reason, crash.record.excvaddr) == ("LoadProhibited", "0x00000010")


def test_the_panic_before_a_core_dump_keeps_its_own_words(
    dump: bytes, panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    text = panic("v0.6.1", *CLOSING).replace("Rebooting...", "")
    (record,) = records(text + "\n".join(made.printed(dump)))
    crash = Decoder([elf_of("v0.6.1")]).decode(record)
    assert crash.record.kind == "panic"
    assert crash.record.reason == "Load access fault"
    assert len(crash.tasks) == 2


def test_prefixes_do_not_hide_a_core_dump(dump: bytes, records: Records) -> None:
    lines = [f"[12:34:56]{line}\r" for line in made.printed(dump)]
    (record,) = records("\n".join(lines))
    assert len(Decoder().decode(record).tasks) == 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lines: lines[:-10], "incomplete"),
        (lambda lines: [*lines[:5], "====", *lines[5:]], None),
        (lambda lines: [*lines[:5], lines[5][:-3], *lines[6:]], "base64"),
        (lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]], "SHA256"),
        (lambda lines: [lines[0], "AAAA"], "no core dump"),
    ],
)
def test_a_damaged_core_dump_is_said_and_the_crash_stays(
    damage: Callable[[list[str]], list[str]], said: str | None, dump: bytes, records: Records
) -> None:
    (record,) = records("\n".join(damage(made.printed(dump))))
    crash = Decoder().decode(record)
    assert crash.record.kind == "coredump"
    if said is None:
        assert len(crash.tasks) == 2
    else:
        assert any("core dump" in note and said in note for note in crash.notes), crash.notes


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [(24 + 44, 0xFFFF, "segments"), (24 + 48, 9, "sections"), (24 + 52 + 16, 1 << 30, "claim")],
)
def test_a_core_dump_that_would_take_all_memory_is_refused(
    at: int, value: int, said: str, dump: bytes
) -> None:
    size = 4 if value > 0xFFFF else 2
    broken = dump[:at] + value.to_bytes(size, "little") + dump[at + size :]
    with pytest.raises(ValueError, match=said):
        check(broken)


def test_a_reader_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hanging = tmp_path / "hang"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    reader = CoreReader(timeout=0.2)
    found = reader.read(["AAAA" * 12])
    assert found.error is not None
    assert "took more than" in found.error


def test_after_some_core_dumps_that_nobody_survives_no_more_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    reader = CoreReader(timeout=5)
    said = [reader.read([f"AAA{n}" * 12]).error for n in range(7)]
    assert "lost to 5" in str(said[-1])


def test_a_reader_that_dies_costs_one_core_dump(dump: bytes) -> None:
    reader = CoreReader()
    lines = made.printed(dump)[1:-1]
    worker = reader._started()
    worker.kill()
    worker.wait()
    assert len(reader.read(lines).tasks) == 2
    reader.close()


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_core_dump_breaks_the_reader(data: st.DataObject, dump: bytes) -> None:
    import hashlib

    broken = bytearray(dump)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(broken) - 33))
        broken[at] = data.draw(st.integers(0, 255))
    body = bytes(broken[:-32])  # a right checksum lets it through to the parser
    lines = made.printed(body + hashlib.sha256(body).digest())[1:-1]
    found = shared().read(lines)
    assert found.error is not None or found.chip is not None


def test_json_and_memory_hold_the_tasks(dump: bytes, elf_of: ElfOf, tmp_path: Path) -> None:
    log = tmp_path / "core.log"
    log.write_text("\n".join(made.printed(dump)))
    elf = str(elf_of("v0.6.1"))
    run = CliRunner().invoke(triage, ["--json", str(log), "--elf", elf])
    (crash,) = json.loads(run.stdout)["crashes"]
    assert [task["name"] for task in crash["core_dump"]["tasks"]] == ["httpd", "ctrl"]
    assert crash["core_dump"]["tasks"][0]["decoded"][0]["function"] == "httpd_sess_close"
    with Memory() as memory:
        (bucket,) = memory.buckets()
        (occurrence,) = memory.occurrences(bucket.id)
    assert [task.name for task in occurrence.tasks] == ["httpd", "ctrl"]
    assert occurrence.record.core_dump == ()
    shown = CliRunner().invoke(crashes, ["show", str(bucket.id)])
    assert "httpd (crashed)" in shown.stdout
    assert "ctrl" in shown.stdout
    assert "httpd_server" in shown.stdout
    told = CliRunner().invoke(triage, [str(log), "--elf", elf])
    assert "ctrl" in told.stdout
