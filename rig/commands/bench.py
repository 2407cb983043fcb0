"""`rig bench check`: whether a bench file is right, without touching a board."""

from __future__ import annotations

from pathlib import Path

import click

from rig.boards.bench import find_bench, load_bench
from rig.commands.options import examples
from rig.errors import BenchError


@click.group(
    name="bench",
    epilog=examples(
        "rig bench check",
    ),
)
def command() -> None:
    """Check a bench file (docs/bench.md)."""


@command.command(
    name="check",
    epilog=examples(
        "rig bench check",
        "rig bench check hall.toml",
    ),
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Check FILE, by default the bench file that the other commands would use.

    The pass-phrase must be where the file says; it is not shown. No board is touched.
    """
    bench = load_bench(file) if file else find_bench()
    if bench.path is None:
        raise BenchError(
            "there is no bench file here, and none is needed for the virtual board",
            hint="write bench.toml (docs/bench.md), or name one: rig bench check FILE",
        )
    if bench.network is not None:
        bench.network.passphrase()
    boards = ", ".join(f"{entry.name} ({entry.kind})" for entry in bench.boards.values())
    network = f"; network {bench.network.ssid}" if bench.network else ""
    click.echo(f"{bench.path}: good: {boards or 'no boards'}{network}")
