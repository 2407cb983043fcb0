"""`rig symbols`: ELF files kept for decoding crashes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from rig.commands.options import examples
from rig.console.printable import printable
from rig.errors import BenchError, RigError
from rig.report.listing import show_listing
from rig.triage.store import SymbolStore, elf_files


@click.group(name="symbols")
def command() -> None:
    """Keep ELF files: crashes of those builds are then decoded wherever their logs turn up.

    \b
    rig symbols add build/            every ELF in a build folder
    rig symbols add esp32c3_rev3_rom.elf
    rig symbols list
    """


@command.command(
    name="add",
    epilog=examples(
        "rig symbols add build/",
        "rig symbols add esp32c3_rev3_rom.elf",
    ),
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
def add(paths: Sequence[Path]) -> None:
    """Keep ELF files, or all of a folder; make their indexes."""
    store = SymbolStore()
    kept = 0
    for path in elf_files(paths):
        try:
            elf = store.add(path)
        except RigError as error:
            click.echo(printable(f"rig: {error}", keep="\t\n"), err=True)
            continue
        kept += 1
        click.echo(printable(f"{elf.sha256[:16]}  {elf.arch or 'other'}  {path}"))
    if not kept:
        raise BenchError(
            f"no ELF file was kept of {', '.join(str(path) for path in paths)}",
            hint="name the .elf files of a build, or a folder that holds some",
        )


@command.command(
    name="list",
    epilog=examples(
        "rig symbols list",
        "rig symbols list --json",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")
def list_(as_json: bool) -> None:
    """List the ELF files that are kept."""
    rows = [
        {
            "elf": elf.sha256[:16],
            "title": "ROM" if elf.is_rom else (elf.arch or "another machine's"),
            "path": str(elf.path),
            "size": f"{elf.path.stat().st_size / 1e6:.1f} MB",
        }
        for elf in SymbolStore().all()
    ]
    show_listing(rows, as_json=as_json)


@command.command(
    name="remove",
    epilog=examples(
        "rig symbols remove 05d15cc13857",
    ),
)
@click.argument("prefixes", nargs=-1, required=True)
def remove(prefixes: Sequence[str]) -> None:
    """Forget ELF files by the first six or more digits of their hash."""
    store = SymbolStore()
    for prefix in prefixes:
        gone = store.remove(prefix)
        if not gone:
            raise BenchError(
                f"no ELF file is kept whose hash begins with {prefix!r}",
                hint="`rig symbols list` shows what is kept; give six digits or more",
            )
        for path in gone:
            click.echo(f"removed {path.name[:16]}")
