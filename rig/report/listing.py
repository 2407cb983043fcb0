"""Lists for people (name, then what is known of it) and for machines (a JSON array)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec
from rich.table import Table

from rig.console.screen import report_console


def show_listing(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print `rows` (the first key of each is its name, `title` its line) on stdout."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(list(rows)), indent=2).decode())
        return
    console = report_console()
    for row in rows:
        (_, name), *rest = row.items()
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True, min_width=10)
        table.add_column(overflow="fold")
        for key, value in rest:
            if key != "title" and value:
                text = ", ".join(map(str, value)) if isinstance(value, tuple) else value
                table.add_row(f"  {key}", text)
        console.print(f"[bold]{name}[/bold]  {row.get('title', '')}")
        console.print(table)
