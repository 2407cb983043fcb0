"""`rig flash BOARD... BUNDLE`: write firmware, verify it, see the boards boot and answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from firmware_flasher.starting import Worker
from rig.commands.options import bench_option, complete_board, wait_option
from rig.errors import BenchError

EPILOG = """\b
Examples:
  rig flash virtual fixtures/firmware/v0.7.0
  rig flash kitchen build/ --bench bench.toml
  rig flash kitchen hall attic firmware.factory.bin
  rig flash --all build/

\b
BUNDLE is an ESP-IDF build folder (flasher_args.json), a merged image (.bin), an
ESPHome or PlatformIO output folder, or a zip archive of one of these.

\b
What the flash holds already is left alone, by the chip's own MD5; of what this rig
has written before, only the sectors that changed are written. A flash that was
interrupted is written anew, all of it.

\b
Exit codes: 0 every board flashed and verified, 2 wrong use or a bundle that is not
for this board, 3 a board failed.
"""


@click.command(name="flash", epilog=EPILOG)
@click.argument(
    "words", nargs=-1, metavar="[BOARD]... BUNDLE", required=True, shell_complete=complete_board
)
@click.option("--all", "every", is_flag=True, help="All boards of the bench that have a port.")
@bench_option
@wait_option
@click.option("--verify/--no-verify", default=True, help="Check by MD5 after writing.")
@click.option("--erase-all", is_flag=True, help="Erase all of the flash first.")
@click.option("--force", is_flag=True, help="Write broken images, and to another chip.")
@click.option("--boot/--no-boot", default=True, help="Wait until it runs and answers.")
@click.option("--timeout", default=20.0, show_default=True, help="Seconds it may boot.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout: an object, or an array.")
@click.option("--verbose", is_flag=True, help="Show esptool's own words (one board).")
def command(
    words: tuple[str, ...],
    every: bool,
    bench: Path | None,
    wait: bool,
    verify: bool,
    erase_all: bool,
    force: bool,
    boot: bool,
    timeout: float,
    as_json: bool,
    verbose: bool,
) -> int:
    """Write the firmware BUNDLE to each BOARD, verify it, and see it boot.

    Several boards are flashed at the same time; one that fails stops no other.
    """
    names, bundle = _split(words, every=every)
    worker = Worker()  # it loads esptool while the rest of the rig loads here
    try:
        from rig.commands.flash_boards import Wishes, chosen, flash

        boards = chosen(names, bench, every=every)
        wishes = Wishes(verify, erase_all, force, boot, timeout, wait)
        single = len(boards) == 1 and not every
        return flash(
            boards, bundle, wishes, worker, as_json=as_json, verbose=verbose, single=single
        )
    finally:
        worker.end()


def _split(words: Sequence[str], *, every: bool) -> tuple[list[str], Path]:
    """The boards' names, and where the bundle is. Raises `BenchError`."""
    *names, bundle = words
    if every and names:
        raise BenchError(f"--all, and boards by name: {', '.join(names)}", hint="one of the two")
    if not names and not every:
        raise BenchError(
            f"rig flash {bundle}: expected a BOARD and a BUNDLE, found one of them only",
            hint="rig flash kitchen build/, or rig flash --all build/; `rig boards` lists boards",
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise BenchError(f"{', '.join(twice)}: named twice", hint="name each board once")
    return names, Path(bundle)
