"""`rig flash BOARD BUNDLE`: write firmware, verify it, see the board boot and answer."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
from rich.console import Console

from firmware_flasher.bundle import Bundle
from firmware_flasher.errors import FlashError
from firmware_flasher.flasher import FlashResult
from firmware_flasher.loading import load_bundle
from firmware_flasher.progress import Display
from rig.boards import Board, open_board
from rig.boards.bench import find_bench
from rig.boards.flashing import (
    BOOT_SECONDS,
    Booted,
    as_rig_error,
    attach_console,
    boot_board,
    flash_board,
)
from rig.commands.options import bench_option, board_argument, holding, wait_option
from rig.history import HistoryStore

EPILOG = """\b
Examples:
  rig flash virtual fixtures/firmware/v0.7.0
  rig flash kitchen build/ --bench bench.toml

\b
BUNDLE is an ESP-IDF build folder (flasher_args.json), a merged image (.bin), an
ESPHome or PlatformIO output folder, or a zip archive of one of these.
"""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The command's options."""

    verify: bool
    erase_all: bool
    force: bool
    boot: bool
    timeout: float
    wait: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What was done, for people and machines."""

    board: str
    bundle: str
    sha256: str
    firmware: str | None
    chip: str
    mac: str
    console: str | None
    address: str | None
    booted: bool
    written: int
    skipped: int
    verified: int
    seconds: float


@click.command(name="flash", epilog=EPILOG)
@board_argument
@click.argument("bundle", type=click.Path(path_type=Path))
@bench_option
@wait_option
@click.option("--verify/--no-verify", default=True, help="Check by MD5 after writing.")
@click.option("--erase-all", is_flag=True, help="Erase all of the flash first.")
@click.option("--force", is_flag=True, help="Write broken images, and to another chip.")
@click.option("--boot/--no-boot", default=True, help="Wait until it runs and answers.")
@click.option("--timeout", default=BOOT_SECONDS, show_default=True, help="Seconds it may boot.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--verbose", is_flag=True, help="Show esptool's own words.")
def command(
    board: str,
    bundle: Path,
    bench: Path | None,
    wait: bool,
    verify: bool,
    erase_all: bool,
    force: bool,
    boot: bool,
    timeout: float,
    as_json: bool,
    verbose: bool,
) -> None:
    """Write the firmware BUNDLE to BOARD, verify it, and see it boot."""
    try:
        loaded = load_bundle(bundle, force=force)
    except FlashError as error:
        raise as_rig_error(error) from error
    found = open_board(board, find_bench(bench))
    wishes = Wishes(verify, erase_all, force, boot, timeout, wait)
    report = asyncio.run(_flash(found, loaded, wishes, verbose=verbose))
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _show(report)


async def _flash(board: Board, bundle: Bundle, wishes: Wishes, *, verbose: bool) -> Report:
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="rig-flash-") as folder:
        async with holding(board, f"rig flash {bundle.origin}", wait=wishes.wait):
            with HistoryStore(Path(folder) / "history.jsonl") as store:
                return await _flash_held(board, bundle, wishes, store, errors, verbose=verbose)


async def _flash_held(
    board: Board,
    bundle: Bundle,
    wishes: Wishes,
    store: HistoryStore,
    errors: Console,
    *,
    verbose: bool,
) -> Report:
    async with board, attach_console(board, store) as console:
        with Display(errors, verbose=verbose) as display:
            result = await flash_board(
                board,
                bundle,
                store,
                console,
                on_event=display,
                verify=wishes.verify,
                erase_all=wishes.erase_all,
                force=wishes.force,
            )
        booted = await _boot(board, store, wishes, errors)
        return _report(board, bundle, result, booted)


async def _boot(
    board: Board, store: HistoryStore, wishes: Wishes, errors: Console
) -> Booted | None:
    if not wishes.boot:
        if board.can_reset:
            await board.reset()
        return None
    if board.console_url is None and board.address is None:
        return None  # nothing to see it by
    with errors.status("booting") if errors.is_terminal else contextlib.nullcontext():
        return await boot_board(board, store, timeout=wishes.timeout)


def _report(board: Board, bundle: Bundle, result: FlashResult, booted: Booted | None) -> Report:
    app = bundle.app
    address = booted.address if booted else board.address
    return Report(
        board=board.name,
        bundle=bundle.origin,
        sha256=bundle.digest,
        firmware=f"{app.project} {app.version}" if app else None,
        chip=result.chip.description,
        mac=result.chip.mac,
        console=board.console_url,
        address=str(address) if address else None,
        booted=booted is not None,
        written=result.written,
        skipped=result.skipped,
        verified=result.verified,
        seconds=round(result.seconds, 2),
    )


def _show(report: Report) -> None:
    unchecked = report.written + report.skipped - report.verified
    click.secho(
        f"{report.board}: flashed in {report.seconds:.1f} s, {report.written} regions written, "
        f"{report.skipped} unchanged, {report.verified} verified"
        + (f", {unchecked} NOT verified" if unchecked else "")
        + (", booted" if report.booted else ""),
        fg="green",
    )
    rows = {
        "firmware": report.firmware,
        "chip": report.chip,
        "MAC": report.mac,
        "console": report.console,
        "address": report.address,
    }
    for name, value in rows.items():
        if value:
            click.echo(f"  {name:<9} {value}")
