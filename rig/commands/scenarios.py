"""`rig scenarios`: the catalogue."""

from __future__ import annotations

import click

from rig.report.listing import show_listing
from rig.scenarios import all_scenarios


@click.command(name="scenarios")
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")
def command(as_json: bool) -> None:
    """List the scenarios: what each one does to a device, and which checks judge it.

    \b
    rig scenarios
    rig run drop-queued --firmware fixtures/firmware/v0.5.0
    """
    rows = [
        {
            "scenario": scenario.name,
            "title": scenario.title,
            "faults": ", ".join(scenario.faults),
            "checks": ", ".join(scenario.checks),
            "needs": ", ".join(scenario.needs),
            "cycles": str(scenario.cycles),
        }
        for scenario in all_scenarios().values()
    ]
    show_listing(rows, as_json=as_json)
