"""`rig faults`: every fault, its parameters, what it needs, and how it is proven."""

from __future__ import annotations

import click

from rig.commands.options import complete_fault
from rig.faults import all_faults
from rig.faults.registry import get_fault
from rig.report.listing import show_listing


@click.command(name="faults")
@click.argument("names", nargs=-1, metavar="[FAULT]...", shell_complete=complete_fault)
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the faults: what each one does, its parameters with units, and how it is seen.

    \b
    rig faults
    rig faults rst loss
    rig faults --json
    """
    rows = [
        {
            "fault": fault.name,
            "title": fault.title,
            "seen": fault.seen,
            "parameters": ", ".join(
                f"{p.name}={p.default:g} {p.unit} ({p.low:g} to {p.high:g}): {p.title}"
                for p in fault.params
            ),
            "needs": ", ".join(fault.needs),
        }
        for fault in (map(get_fault, names) if names else all_faults().values())
    ]
    show_listing(rows, as_json=as_json)
