"""`rig heal`: take back what killed runs left on the network."""

from __future__ import annotations

import click

from rig.air.healing import heal_leftovers
from rig.air.leftovers import folder


@click.command(name="heal")
def command() -> int:
    """Undo what a killed run left behind: nftables tables, rate limits, wrong ARP entries.

    Every other command does the same when it starts; this one says what it did. Exit code 3 when
    something had to be left.
    """
    report = heal_leftovers(folder())
    for what in report.healed:
        click.echo(f"healed: {what}")
    for what in report.left:
        click.secho(f"left alone: {what}", fg="yellow", err=True)
    if not report.healed and not report.left:
        click.echo("nothing to heal")
    return 3 if report.left else 0
