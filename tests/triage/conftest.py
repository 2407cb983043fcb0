"""Fixtures of the triage tests: a home of their own, firmware, logs made of its addresses."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.console.crash import Finished
from rig.history.crash import CrashRecord
from rig.triage import read_log

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
COMPILER = shutil.which("riscv64-unknown-elf-gcc")
LINK = ["-nostdlib", "-Wl,-Ttext=0x42000000", "-Wl,--no-relax", "-Wl,-e,app_main"]
ARCH = ["-march=rv32imc", "-mabi=ilp32", "-ffreestanding", "-ggdb", "-fno-strict-aliasing"]

Build = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The rig's state folder, of this test alone."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(folder))
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Compile C for a RISC-V chip: `build(source, name, *options)` -> the ELF."""
    if COMPILER is None:
        pytest.skip("riscv64-unknown-elf-gcc is not installed")

    def compile_(source: str, name: str = "app", *options: str) -> Path:
        code = tmp_path / f"{name}.c"
        code.write_text(source)
        elf = tmp_path / f"{name}.elf"
        subprocess.run([COMPILER, *ARCH, *LINK, *options, "-o", elf, code], check=True)
        return elf

    return compile_


@pytest.fixture
def records(tmp_path: Path) -> Callable[[str], list[CrashRecord]]:
    """The crash records of a log given as text."""

    def of(text: str) -> list[CrashRecord]:
        path = tmp_path / "read.log"
        path.write_text(text)
        with path.open("rb") as file:
            return [event.record for event in read_log(file) if isinstance(event, Finished)]

    return of


@pytest.fixture
def panic() -> Callable[..., str]:
    """What the virtual board prints when a version's model faults in a call chain.

    `panic("v0.6.1", "httpd_thread", ..., "httpd_sess_close")`, outermost function first.
    """
    from types import SimpleNamespace

    from rig.boards.virtual import panic as model
    from rig.boards.virtual.cpu import LoadFault
    from rig.boards.virtual.firmware import parse_app

    def of(version: str, *stack: str) -> str:
        image = parse_app((FIRMWARE / version / "sendspin-speaker.bin").read_bytes())
        written: list[str] = []
        system = SimpleNamespace(image=image, say=written.append)
        model.dump(system, LoadFault(0x3FC9_4000, ("vPortTaskWrapper", *stack)))
        return "\n".join(written) + "\n"

    return of


@pytest.fixture
def elf_of() -> Callable[[str], Path]:
    """The ELF of a version of the model firmware."""
    return lambda version: FIRMWARE / version / "sendspin-speaker.elf"
