"""`rig verdict DIR`: judge a run again, without a board."""

from __future__ import annotations

from pathlib import Path

import click

from rig.campaign.judge import judge
from rig.console.screen import report_console
from rig.report.crashes import full_json
from rig.report.terminal import show_verdict


@click.command(name="verdict")
@click.argument("run", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(run: Path, as_json: bool) -> None:
    """Judge the run in DIR again: needs its history.jsonl only, no board.

    \b
    rig verdict out/20260101-120000-virtual
    rig verdict out/20260101-120000-virtual --json

    Exit codes: 0 pass, 1 fail, 2 wrong use, 3 inconclusive.
    """
    verdict = judge(run)
    if as_json:
        click.echo(full_json(verdict, remember=False))
    else:
        show_verdict(report_console(), verdict)
    raise SystemExit(verdict.verdict.exit_code)
