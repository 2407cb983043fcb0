"""`rig triage`: logs in; crashes out, decoded and grouped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import click

from rig.console.printable import printable
from rig.errors import BenchError, RigError
from rig.triage.ahead import Read, ReadAhead, processors, worth_it
from rig.triage.decode import Decoder, Unwind
from rig.triage.gdb import debugger
from rig.triage.jsonl import Writer
from rig.triage.logs import BLOCK, doubtful
from rig.triage.memory import Memory
from rig.triage.progress import Counted, reading, reading_all
from rig.triage.session import Found, Session, Triaged
from rig.triage.store import elf_files
from rig.triage.summary import Summary


@click.command(name="triage")
@click.argument("logs", nargs=-1, required=True)
@click.option(
    "--elf",
    "elfs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="ELF file of a build, or a folder of them. Repeatable.",
)
@click.option("--force", is_flag=True, help="Decode with the given ELF even if its hash differs.")
@click.option(
    "--unwind",
    type=click.Choice(["auto", "cfi", "gdb"]),
    default="auto",
    help="What follows a RISC-V stack: the ELF's call-frame information, or GDB with Espressif's "
    "panic decoder. auto (the default): cfi, and GDB where that gets nowhere.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a log on stdout.")
@click.option("--memory/--no-memory", default=True, help="Remember the crashes (the default).")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    help="So many logs are read at once. By default as many as this machine has processors, "
    "where the logs are long enough to be worth it.",
)
@click.option(
    "--check", is_flag=True, help="Exit 1 if there is a crash that is not marked expected."
)
def command(
    logs: Sequence[str],
    elfs: Sequence[Path],
    force: bool,
    unwind: Unwind,
    as_json: bool,
    memory: bool,
    jobs: int | None,
    check: bool,
) -> None:
    """Find the crashes in serial logs: what crashed, where in the source, whether it is known.

    LOGS are files; - is standard input. ELF files that `rig symbols add` keeps are found by their
    hash; --elf names others.

    \b
    rig triage device.log other/*.log --elf build/app.elf
    rig monitor BOARD | rig triage -
    rig triage --json *.log
    """
    if unwind == "gdb" and debugger() is None:
        raise BenchError(
            "--unwind gdb: there is no GDB for RISC-V on this machine",
            hint="install gdb-multiarch or riscv32-esp-elf-gdb, or leave the option out",
        )
    decoder = Decoder(elf_files(elfs), force=force, unwind=unwind)
    with ExitStack() as stack:
        read = 0
        jobs = jobs or (processors() if worth_it(logs) else 1)
        ahead, done = None, None
        if jobs > 1 and len(logs) > 1 and "-" not in logs:
            ahead = stack.enter_context(ReadAhead(logs, min(jobs, len(logs)), decoder))
            done = stack.enter_context(reading_all(logs))
        session = Session(decoder, _memory(stack) if memory else None)
        summary = Summary()
        for name in logs:
            try:
                if ahead is None or (ready := ahead.take()) is None:
                    _triage(session, name, as_json, summary)
                else:
                    _take(session, ready, name, as_json, summary)
                read += 1
                if done is not None:
                    done(name)
            except BrokenPipeError:
                raise
            except KeyboardInterrupt:
                if not as_json:
                    summary.show()  # of what was read
                raise
            except OSError as error:
                _complain(f"cannot read {name}: {error.strerror or error}")
        if session.trouble is not None:
            _complain(str(session.trouble))
        if not read:
            raise BenchError("none of the logs could be read", hint="see above for each one")
        if not as_json:
            summary.show()
        if check and summary.unexpected:
            sys.exit(1)


def _memory(stack: ExitStack) -> Memory | None:
    """The crash database; without it, triage goes on and says so."""
    try:
        return stack.enter_context(Memory())
    except RigError as error:
        _complain(f"{error}\n  (the crashes of this call are not remembered)")
        return None


def _triage(session: Session, name: str, as_json: bool, summary: Summary) -> None:
    piped = name == "-"
    with nullcontext(sys.stdin.buffer) if piped else Path(name).open("rb") as file:
        # A name that is no UTF-8 can be opened, but not written into JSON or a database.
        name = os.fsencode(name).decode("utf-8", "replace")
        if not piped and (doubt := doubtful(cast(BufferedReader, file).peek(BLOCK))):
            _complain(f"{name} {doubt}")
        counted: BinaryIO = file
        with reading(file, name) as progress:
            if progress is not None:
                counted = cast(BinaryIO, Counted(file, progress))
            _tell(session.triage(counted, name, live=piped), name, as_json, summary)


def _take(session: Session, ready: Read, name: str, as_json: bool, summary: Summary) -> None:
    """The same of a log that another process has read."""
    if ready.error is not None and not ready.begun:
        raise ready.error
    name = os.fsencode(name).decode("utf-8", "replace")
    if ready.doubt:
        _complain(f"{name} {ready.doubt}")
    found = (one for held in ready.batches() for one in session.stored(held, name, ready.identity))
    _tell(found, name, as_json, summary)


def _tell(found: Iterable[Found], name: str, as_json: bool, summary: Summary) -> None:
    if not as_json:
        summary.file(name, found)
        return
    with Writer(sys.stdout.buffer.write, name) as writer:
        for one in found:
            writer.add(one)
            if isinstance(one, Triaged):
                summary.count(one)
    sys.stdout.buffer.flush()


def _complain(text: str) -> None:
    click.echo(printable(f"rig: {text}", keep="\t\n"), err=True)
