"""`rig doctor`: what works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import sys
from collections import Counter

import click
import msgspec
from rich.markup import escape

from rig.commands.options import examples
from rig.console.screen import Screen
from rig.report.machine import Finding, examine

_MARKS = {"ok": "[green]ok     [/]", "limited": "[yellow]limited[/]", "missing": "[red]missing[/]"}


@click.command(
    name="doctor",
    epilog=examples(
        "rig doctor",
        "rig doctor --json",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="A JSON array on stdout.")
def command(as_json: bool) -> int:
    """Say what works on this machine, what is missing, and how to get it.

    Exit code 2 when something is missing that the rig cannot do without.
    """
    findings = []
    errors = Screen(stderr=True)
    with errors.status("looking") as status:
        for finding in examine():
            findings.append(finding)
            status.update(finding.name)
    if as_json:
        sys.stdout.write(
            msgspec.json.format(msgspec.json.encode(findings), indent=2).decode() + "\n"
        )
    else:
        _show(findings)
    return 2 if any(found.state == "missing" and found.needed for found in findings) else 0


def _show(findings: list[Finding]) -> None:
    console = Screen(soft_wrap=True)
    for found in findings:
        console.print(f"{_MARKS[found.state]}  [bold]{found.name:<18}[/] {escape(found.detail)}")
        if found.state != "ok" and found.hint:
            console.print(f"{'':<29}[dim]{escape(found.hint)}[/]")
    count = Counter(found.state for found in findings)
    console.print(", ".join(f"{number} {state}" for state, number in count.items()))
