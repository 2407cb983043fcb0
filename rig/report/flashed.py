"""What `rig flash` did: a few lines for one board, one table for several, JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from firmware_flasher.bundle import Bundle
from firmware_flasher.flasher import FlashResult
from rig.boards.base import Board
from rig.console.printable import printable
from rig.errors import RigError

if TYPE_CHECKING:
    from rig.boards.booting import Booted


@dataclass(frozen=True, slots=True)
class Report:
    """What was done to one board. `error`, `hint`: why it did not end well."""

    board: str
    bundle: str
    sha256: str
    firmware: str | None
    elf_sha256: str | None = None
    chip: str | None = None
    mac: str | None = None
    console: str | None = None
    address: str | None = None
    booted: bool = False
    written: int = 0
    skipped: int = 0
    verified: int = 0
    size: int = 0
    sent: int = 0
    baud: int = 0
    retries: int = 0
    seconds: float = 0.0
    error: str | None = None
    hint: str | None = None
    exit_code: int = 0


def flashed(board: Board, bundle: Bundle, result: FlashResult, booted: Booted | None) -> Report:
    """The report of a board that was flashed, and booted where that was asked for."""
    app = bundle.app
    address = booted.address if booted else board.address
    return Report(
        board=board.name,
        bundle=bundle.origin,
        sha256=bundle.digest,
        firmware=bundle.label if app else None,
        elf_sha256=app.elf_sha256 if app else None,
        chip=result.chip.description,
        mac=result.chip.mac,
        console=board.console_url,
        address=str(address) if address else None,
        booted=booted is not None,
        written=result.written,
        skipped=result.skipped,
        verified=result.verified,
        size=result.size,
        sent=result.sent,
        baud=result.baud,
        retries=result.retries,
        seconds=round(result.seconds, 2),
    )


def failed(board: Board, bundle: Bundle, error: RigError) -> Report:
    """The report of a board where something went wrong."""
    return Report(
        board=board.name,
        bundle=bundle.origin,
        sha256=bundle.digest,
        firmware=bundle.label if bundle.app else None,
        error=error.message,
        hint=error.hint,
        exit_code=error.exit_code,
    )


def line_of(report: Report) -> str:
    """One board in one line."""
    if report.error is not None:
        return f"{report.board}: {report.error}"
    unchecked = report.written + report.skipped - report.verified
    return (
        f"{report.board}: flashed in {report.seconds:.1f} s, {report.written} "
        f"{'region' if report.written == 1 else 'regions'} written, "
        f"{report.skipped} unchanged, {report.verified} verified"
        + (f", {unchecked} NOT verified" if unchecked else "")
        + (", booted" if report.booted else "")
    )


def show_one(console: Console, report: Report) -> None:
    """A board that was flashed, with what one wants to know next."""
    console.print(Text(printable(line_of(report)), style="green"), soft_wrap=True)
    rows = {
        "firmware": report.firmware,
        "chip": report.chip,
        "MAC": report.mac,
        "console": report.console,
        "address": report.address,
    }
    for name, value in rows.items():
        if value:
            console.print(f"  {name:<9} {escape(printable(value))}", soft_wrap=True)


def show_table(console: Console, reports: Sequence[Report]) -> None:
    """Several boards: one table, and below it each error with the next step."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("board", "state", "chip", "MAC", "written", "s", "address"):
        right = title in ("written", "s")
        table.add_column(title, overflow="fold", justify="right" if right else "left")
    for report in reports:
        table.add_row(*_cells(report))
    console.print(table)
    for report in reports:
        if report.error is not None:
            console.print(f"[bold red]error:[/] {escape(printable(line_of(report)))}")
            if report.hint:
                console.print(f"  next: {escape(printable(report.hint))}")
    bad = sum(report.error is not None for report in reports)
    console.print(f"{len(reports) - bad} of {len(reports)} boards flashed", style="dim")


def _cells(report: Report) -> list[str]:
    if report.error is not None:
        return [escape(printable(report.board)), "[bold red]failed[/]", *["-"] * 5]
    state = "booted" if report.booted else "flashed"
    if report.verified < report.written + report.skipped:
        state += ", NOT verified"
    chip = (report.chip or "-").partition(" (")[0]
    address = (report.address or "-").removeprefix("ws://").partition("/")[0]
    written = f"{report.sent} of {report.size}"
    cells = [chip, report.mac or "-", written, f"{report.seconds:.1f}", address]
    board = escape(printable(report.board))
    return [board, f"[green]{state}[/]", *(escape(printable(cell)) for cell in cells)]
