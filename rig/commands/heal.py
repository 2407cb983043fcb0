"""`rig heal`: take back what killed runs left on the network."""

from __future__ import annotations

import click

from rig.air.healing import Report, heal_leftovers
from rig.air.leftovers import folder
from rig.campaign.radio import put_on_again
from rig.commands.options import examples


@click.command(
    name="heal",
    epilog=examples(
        "rig heal",
    ),
)
def command() -> int:
    """Undo what a killed run left behind: nftables tables, rate limits, wrong ARP entries.

    Every other command does the same when it starts; this one says what it did. Exit code 3 when
    something had to be left.
    """
    put_on = put_on_again(folder())
    report = heal_leftovers(folder())
    report = Report([*put_on.healed, *report.healed], [*put_on.left, *report.left])
    for what in report.healed:
        click.echo(f"healed: {what}")
    for what in report.left:
        click.secho(f"left alone: {what}", fg="yellow", err=True)
    if not report.healed and not report.left:
        click.echo("nothing to heal")
    return 3 if report.left else 0
