"""`rig provision BOARD`: WiFi credentials into a board, its firmware untouched."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from firmware_flasher.progress import Display
from rig.boards import Board, open_board
from rig.boards.base import Provisionable
from rig.boards.bench import Bench, find_bench
from rig.boards.network import Network
from rig.boards.wifi_credentials import WAYS, Provision
from rig.commands.options import BYTES, bench_option, board_argument, holding, wait_option
from rig.console.printable import printable
from rig.console.screen import Screen
from rig.errors import BenchError

EPILOG = """\b
Examples:
  rig provision kitchen                              the bench's [network]
  BENCH_PSK=... rig provision kitchen --ssid lab --passphrase-env BENCH_PSK
  rig provision kitchen --passphrase-file /run/secrets/psk --ssid lab
  rig provision kitchen --namespace wifi_cfg --ssid-key ssid --passphrase-key pass
  rig provision porch --by improv                    ESPHome, over its console

\b
A pass-phrase comes from the environment or a file, and is never shown. Where the bench
file says how a board keeps its credentials ([boards.NAME.provision]), that is the default.
"""


@click.command(name="provision", epilog=EPILOG)
@board_argument
@click.option("--ssid", help="The network's name.  [default: the bench's [network]]")
@click.option("--passphrase-env", metavar="VARIABLE", help="Environment variable that holds it.")
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path), metavar="FILE", help="File that holds it."
)
@click.option("--open", "is_open", is_flag=True, help="The network has no pass-phrase.")
@click.option("--by", type=click.Choice(WAYS), help="Into its flash, or by Improv.  [default: nvs]")
@click.option("--partition", metavar="NAME", help="Its NVS partition.  [default: nvs]")
@click.option("--namespace", help="Of its own keys.  [default: ESP-IDF's WiFi, nvs.net80211]")
@click.option("--ssid-key", help="Key of the SSID in that namespace.  [default: ssid]")
@click.option("--passphrase-key", help="Key of the pass-phrase in it.  [default: password]")
@click.option("--table-offset", type=BYTES, help="Where the partition table is.  [default: 0x8000]")
@bench_option
@wait_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    board: str,
    ssid: str | None,
    passphrase_env: str | None,
    passphrase_file: Path | None,
    is_open: bool,
    by: str | None,
    partition: str | None,
    namespace: str | None,
    ssid_key: str | None,
    passphrase_key: str | None,
    table_offset: int | None,
    bench: Path | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Put WiFi credentials into BOARD and leave its firmware and its other settings alone.

    Into the NVS partition: read, merged, written, verified by the chip's MD5. By Improv: handed to
    the running firmware, which says whether it could join.
    """
    found_bench = find_bench(bench)
    found = open_board(board, found_bench)
    network = _network(found_bench, ssid, passphrase_env, passphrase_file, is_open=is_open)
    phrase = network.passphrase()
    given: dict[str, Any] = {
        "by": by,
        "partition": partition,
        "namespace": namespace,
        "ssid_key": ssid_key,
        "passphrase_key": passphrase_key,
        "table_offset": table_offset,
    }
    own = found.provision if isinstance(found, Provisionable) else Provision()
    way = replace(own, **{key: value for key, value in given.items() if value is not None})
    asyncio.run(_provision(found, way, network, phrase, wait=wait, as_json=as_json))


def _network(
    bench: Bench, ssid: str | None, env: str | None, file: Path | None, *, is_open: bool
) -> Network:
    """The network meant: options go before the bench."""
    if is_open and (env or file):
        raise BenchError("--open contradicts a pass-phrase", hint="leave one of them out")
    name = ssid or (bench.network.ssid if bench.network else None)
    if name is None:
        raise BenchError(
            "which network? Neither --ssid nor a [network] in the bench file names one",
            hint="rig provision BOARD --ssid NAME --passphrase-env VARIABLE; docs/bench.md",
        )
    if env or file or is_open:
        return Network(name, passphrase_env=env, passphrase_file=file)
    if bench.network is not None and name == bench.network.ssid:
        return bench.network
    raise BenchError(
        f"where is the pass-phrase of '{name}'?",
        hint="--passphrase-env VARIABLE, --passphrase-file FILE, or --open for a network without",
    )


async def _provision(
    board: Board, way: Provision, network: Network, phrase: str, *, wait: bool, as_json: bool
) -> None:
    async with holding(board, "rig provision", wait=wait), board:
        if way.by == "improv":
            from rig.boards.improv import provision_improv

            url = await provision_improv(board, network.ssid, phrase)
            said: dict[str, object] = {"board": board.name, "by": "improv", "url": url}
            text = f"{board.name}: joined '{network.ssid}'" + (f", {url}" if url else "")
        else:
            from rig.boards.provisioning import provision_nvs

            with Display(Screen(stderr=True)) as display:
                done = await provision_nvs(board, way, network.ssid, phrase, on_event=display)
            said = {"board": board.name, "by": "nvs", **msgspec.to_builtins(done)}
            what = f"{len(done.changed)} keys written" if done.changed else "had it already"
            text = (
                f"{board.name}: provisioned for '{network.ssid}' in {done.partition} "
                f"({done.namespace}): {what}, {done.kept} others kept"
                + (", after an interrupted write" if done.restored else "")
            )
    click.echo(msgspec.json.encode(said).decode() if as_json else printable(text))
