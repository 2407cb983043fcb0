"""`rig checks`: every invariant the rig can judge, with the place where it is written down."""

from __future__ import annotations

import click

from rig.checks import all_checks, get_check
from rig.checks.invariants import numbers_of
from rig.commands.options import complete_check
from rig.report.listing import show_listing


@click.command(name="checks")
@click.argument("names", nargs=-1, metavar="[CHECK]...", shell_complete=complete_check)
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the checks: what each one says of a device, and where that is written down.

    \b
    rig checks
    rig checks no_crash
    rig checks --json
    """
    rows = [
        {
            "check": check.name,
            "title": check.title,
            "invariants": numbers_of(check.name),
            "source": check.source,
        }
        for check in (map(get_check, names) if names else all_checks().values())
    ]
    show_listing(rows, as_json=as_json)
