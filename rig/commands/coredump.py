"""`rig coredump BOARD`: the core dump that a board keeps in its flash, saved and decoded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec

from firmware_flasher.errors import FlashError
from firmware_flasher.flasher import erase_flash
from firmware_flasher.progress import Display
from rig.boards import Board, open_board
from rig.boards.bench import find_bench
from rig.boards.core_dump import KeptDump, read_core_dump
from rig.boards.flash_content import FlashContent, flash_content
from rig.boards.flashing import as_rig_error, flash_memory
from rig.commands.options import BYTES, bench_option, board_argument, holding, wait_option
from rig.console.parser import ConsoleParser
from rig.console.printable import printable
from rig.console.screen import Screen
from rig.errors import BenchError
from rig.history import now_ns
from rig.history.crash import CrashRecord
from rig.history.events import Crash
from rig.triage.decode import DecodedCrash, Decoder, decode_record

EPILOG = """\b
Examples:
  rig coredump kitchen                       kitchen-coredump.bin, decoded
  rig coredump kitchen crash.bin --elf build/speaker.elf
  rig coredump kitchen --erase               and make room for the next one

\b
The file is as it lies in flash; esp-coredump takes it with --core-format raw.
ELF files that `rig symbols` keeps are found by themselves.
"""


@click.command(name="coredump", epilog=EPILOG)
@board_argument
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--elf",
    "elfs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Decode with this ELF file (besides those of `rig symbols`).",
)
@click.option("--erase", is_flag=True, help="Erase it from the board once it is saved.")
@click.option("--table-offset", type=BYTES, default="0x8000", help="Where the partition table is.")
@bench_option
@wait_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    board: str,
    file: Path | None,
    elfs: tuple[Path, ...],
    erase: bool,
    table_offset: int,
    bench: Path | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Save the core dump in BOARD's flash to FILE and decode it. Resets the board.

    Exit code 3 where it holds none.
    """
    target = file or Path(f"{board.replace(':', '-').replace('/', '-')}-coredump.bin")
    if not target.parent.is_dir():
        raise BenchError(f"{target}: there is no folder {target.parent}", hint="make it first")
    decoder = Decoder(elfs)
    found = open_board(board, find_bench(bench))
    dump = asyncio.run(_fetch(found, target, table_offset, wait=wait, erase=erase))
    decoded = _decode(board, dump, decoder)
    if as_json:
        said = {
            "board": board,
            "file": str(target),
            "bytes": len(dump.data),
            "whole": dump.whole,
            "crash": msgspec.to_builtins(decoded) if decoded else None,
        }
        click.echo(msgspec.json.encode(said).decode())
        return
    note = "" if dump.whole else "; its checksum does not hold: it is torn"
    click.echo(printable(f"{board}: {len(dump.data)} bytes of core dump in {target}{note}"))
    for line in _lines(decoded):
        click.echo(printable(line))


async def _fetch(
    board: Board, target: Path, table_offset: int, *, wait: bool, erase: bool
) -> KeptDump:
    async with holding(board, "rig coredump", wait=wait), board:
        with Display(Screen(stderr=True)) as display:
            async with flash_content(board, on_event=display, table_offset=table_offset) as content:
                dump = await read_core_dump(board, content)
                _save(target, dump.data)
                if erase:
                    await _erase(content, dump, display)
    return dump


async def _erase(content: FlashContent, dump: KeptDump, display: Display) -> None:
    try:
        await erase_flash(
            content.port,
            offset=dump.partition.offset,
            size=dump.partition.size,
            on_event=display,
            reset=content.reset if content.owner_resets else None,
            memory=flash_memory(),
        )
    except FlashError as error:
        raise as_rig_error(error) from error


def _save(target: Path, data: bytes) -> None:
    """Whole or not at all, before anything is erased."""
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BenchError(
            f"cannot write {target}: {error.strerror}; the core dump is still on the board",
            hint="name a file that you may write to: rig coredump BOARD FILE",
        ) from error


def _decode(board: str, dump: KeptDump, decoder: Decoder) -> DecodedCrash | None:
    """As the console's reader and triage make of what the board would have printed."""
    parser = ConsoleParser(board)
    text = "".join(f"{line}\r\n" for line in dump.printed()).encode()
    events = [*parser.feed(text, now_ns()), *parser.flush(now_ns())]
    records: list[CrashRecord] = [event.record for event in events if isinstance(event, Crash)]
    return decode_record(records[0], decoder) if records else None


def _lines(decoded: DecodedCrash | None) -> list[str]:
    if decoded is None:
        return ["  not decoded here; esp-coredump info_corefile --core-format raw does"]
    what = f"  {decoded.record.kind}: {decoded.panic}" if decoded.panic else ""
    lines = [what] if what else []
    lines += [f"  {frame}" for frame in decoded.frames if decoded.decoded]
    for task in decoded.tasks:
        if not task.crashed:
            lines.append(f"  task {task.name or task.handle}:")
            lines += [f"    {frame}" for frame in task.frames]
    return lines + [f"  {note}" for note in decoded.notes]
