"""`rig scenarios`: the catalogue."""

from __future__ import annotations

import click

from rig.commands.options import complete_scenario
from rig.report.listing import show_listing
from rig.scenarios import all_scenarios, get_scenario


@click.command(name="scenarios")
@click.argument("names", nargs=-1, metavar="[SCENARIO]...", shell_complete=complete_scenario)
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the scenarios: what each one does to a device.

    Of those that are named, and in the JSON, also which checks judge it.

    \b
    rig scenarios
    rig scenarios recycle-fd
    rig run drop-queued --firmware fixtures/firmware/v0.5.0
    """
    rows = [
        {
            "scenario": scenario.name,
            "title": scenario.title,
            "faults": ", ".join(scenario.faults),
            "checks": ", ".join(scenario.checks) if names or as_json else "",
            "needs": ", ".join(scenario.needs),
            "cycles": str(scenario.cycles),
            "played": "" if scenario.by_default else "only when asked for by name",
        }
        for scenario in (map(get_scenario, names) if names else all_scenarios().values())
    ]
    show_listing(rows, as_json=as_json)
