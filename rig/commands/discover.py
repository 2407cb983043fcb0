"""`rig discover INTERFACE`: the devices that announce themselves there."""

from __future__ import annotations

import asyncio
import json

import click

from rig.boards.mdns import devices
from rig.console.printable import printable

EPILOG = """\b
Examples:
  rig discover eth0
  rig discover 192.168.1.2 --for 10 --json
"""


@click.command(name="discover", epilog=EPILOG)
@click.argument("interface")
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0.5, 600),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to listen.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a device.")
def command(interface: str, seconds: float, as_json: bool) -> int:
    """List the Sendspin devices that announce themselves (mDNS) on INTERFACE, and no other.

    A record that names another network, no port or no path is junk, and is said to be. Exit code
    3: nobody was there.
    """
    there = asyncio.run(devices(interface, seconds=seconds))
    for each in there:
        where = str(each.address) if each.address else None
        if as_json:
            told = {"name": each.name, "address": where, "junk": each.junk or None}
            click.echo(json.dumps(told))
        else:
            click.echo(f"{printable(each.name)}  {where or f'junk: {printable(each.junk)}'}")
    if not there:
        click.echo(f"nobody announces itself on {interface}", err=True)
    return 0 if any(each.address for each in there) else 3
