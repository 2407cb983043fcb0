"""`rig wire DIR`: what crossed the wire in a run, as a sequence diagram."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
import msgspec

from rig.campaign.judge import history_of
from rig.errors import BenchError
from rig.history import History
from rig.history.events import ConnectionOpened
from rig.report.sequence import WIRE, as_fields, as_html, folded, line, steps


@click.command(name="wire")
@click.argument("run", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--connection", "-c", type=click.IntRange(1), help="Only this connection.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write a page to this file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a step on stdout.")
def command(run: Path, connection: int | None, page: Path | None, as_json: bool) -> None:
    """Show the recorded conversation of the run in DIR.

    \b
    rig wire out/20260101-120000-virtual
    rig wire out/20260101-120000-virtual --connection 3
    rig wire out/20260101-120000-virtual --html wire.html

    Media that follow each other are shown as one line; --json has them all.
    """
    history = History(history_of(run))
    if connection is not None:
        _find(history, connection)
    shown = steps(history.only(*WIRE), connection=connection)
    if not as_json:
        shown = folded(shown)
    if page is not None:
        try:
            with page.open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(as_html(shown, f"{run}"))
        except OSError as error:
            raise BenchError(
                f"cannot write {page}: {error.strerror}", hint="name a file that you may write"
            ) from error
        return
    colour = os.environ.get("NO_COLOR", "") == ""
    width = shutil.get_terminal_size((100, 24)).columns
    for step in shown:
        if as_json:
            click.echo(msgspec.json.encode(as_fields(step)))
        else:
            text = line(step, width=width)
            click.echo(click.style(text, fg="red") if step.loud and colour else text)


def _find(history: History, connection: int) -> None:
    """Raises `BenchError` for a connection that is not in the history."""
    last = 0
    for entry in history.only(ConnectionOpened):
        if isinstance(entry.event, ConnectionOpened):
            last = entry.event.conn
            if last == connection:
                return
    there = f"they are numbered from 1 to {last}" if last else "there is none in it"
    raise BenchError(
        f"there is no connection {connection} in this run", hint=f"{there}; `rig wire` shows all"
    )
