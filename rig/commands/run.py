"""`rig run`: flash, boot, break its connection, judge what it did."""

from __future__ import annotations

import asyncio
import shlex
import signal
from pathlib import Path

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from firmware_flasher.bundle import Bundle
from firmware_flasher.messages import Event as FlashEvent
from firmware_flasher.messages import Writing
from rig.boards import open_board
from rig.boards.base import Board
from rig.boards.bench import GENERATIONS, find_bench
from rig.boards.flashing import bundle_for
from rig.campaign.judge import HISTORY_FILE
from rig.campaign.radio import radio_of
from rig.campaign.runner import Plan, conclude, new_out, run
from rig.campaign.verdicts import RunVerdict
from rig.commands.options import (
    complete_board,
    complete_fault,
    complete_scenario,
    holding,
    keep_symbols_of,
    wait_option,
)
from rig.console.screen import report_console
from rig.errors import BenchError, RigError
from rig.faults import get_fault
from rig.report.crashes import RunCrash, full_json, run_crashes
from rig.report.terminal import show_scenario, show_sum
from rig.scenarios import get_scenario
from rig.scenarios.chosen import chosen_faults
from rig.scenarios.registry import catalogue
from rig.servers import ServerKind

DEFAULT_BOARD = "virtual"
_NOT_REPEATED = frozenset({"out", "as_json", "wait"})
_ALWAYS_SAID = frozenset({"board", "seed"})


class _Show:
    """What a person sees while a run goes on, on stderr."""

    def __init__(self, console: Console, progress: Progress, out: Path) -> None:
        self._console = console
        self._progress = progress
        self._history = out / HISTORY_FILE
        self._task = progress.add_task("starting", total=None)

    def said(self, words: str) -> None:
        self._progress.update(self._task, description=words)

    def flashing(self, event: FlashEvent) -> None:
        if isinstance(event, Writing):
            self.said(f"flashing {event.name} {100 * event.done // max(1, event.size)} %")

    def scenario(self, run: RunVerdict) -> None:
        (verdict,) = run.scenarios
        crashes: list[RunCrash] = []
        if any(check.check == "no_crash" and check.findings for check in verdict.checks):
            (crashes,) = run_crashes(run, remember=False)
        show_scenario(self._console, self._history, verdict, crashes)


@click.command(name="run")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...", shell_complete=complete_scenario)
@click.option(
    "--board",
    "-b",
    default=DEFAULT_BOARD,
    show_default=True,
    help="Board to use.",
    shell_complete=complete_board,
)
@click.option("--bench", type=click.Path(path_type=Path), help="Bench file that names boards.")
@click.option("--firmware", "-f", type=click.Path(path_type=Path), help="Bundle to flash first.")
@click.option("--cycles", type=click.IntRange(1, 1_000_000), help="Cycles of each scenario.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run [out/TIME-BOARD].")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86_400),
    default=60.0,
    show_default=True,
    help="Seconds for one cycle.",
)
@click.option(
    "--faults",
    metavar="NAME,...",
    shell_complete=complete_fault,
    help="Play these faults on packets, one after the other (rig faults lists them).",
)
@click.option(
    "--server",
    type=click.Choice(["scripted", "reference"]),
    help="Who plays the server: a script, or aiosendspin.  [default: as each scenario says]",
)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(1, 86_400),
    metavar="SECONDS",
    help="How long a cycle of `conversation` goes on.  [default: 20]",
)
@click.option(
    "--generation",
    type=click.Choice(GENERATIONS),
    help="Fail if the device speaks another wire generation [the bench's].",
)
@click.option("--fail-fast", is_flag=True, help="Stop after the first scenario that fails.")
@click.option("--no-flash", is_flag=True, help="Take the firmware that is on the board.")
@wait_option
@click.option(
    "--swallow",
    multiple=True,
    metavar="FAULT",
    shell_complete=complete_fault,
    help="Make a fault miss (* for all): shows that the rig then says inconclusive.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    scenarios: tuple[str, ...],
    board: str,
    bench: Path | None,
    firmware: Path | None,
    cycles: int | None,
    seed: int,
    out: Path | None,
    timeout: float,
    faults: str | None,
    server: ServerKind | None,
    seconds: float | None,
    generation: str | None,
    fail_fast: bool,
    no_flash: bool,
    wait: bool,
    swallow: tuple[str, ...],
    as_json: bool,
) -> None:
    """Flash BOARD, boot it, break its connection on purpose, and judge what it did.

    Without SCENARIO the whole catalogue is played (`rig scenarios`; some only when named).

    \b
    rig run                                                   everything, on the virtual board
    rig run drop-queued --firmware fixtures/firmware/v0.5.0   a bug, found
    rig run --board kitchen --bench bench.toml --firmware build/
    rig run recycle-fd --cycles 50 --seed 7 --json
    rig run conversation --for 600                            audio and talk while faults come
    rig run --server reference                                the same, aiosendspin as the server

    Exit codes: 0 pass, 1 fail, 2 wrong use, 3 inconclusive.
    """
    for name in swallow:
        if name != "*":
            get_fault(name)
    chosen = [get_scenario(name) for name in scenarios]
    if faults is not None:
        chosen.append(chosen_faults(faults.split(",")))
    chosen = chosen or catalogue()
    benched = find_bench(bench)
    device = open_board(board, benched)
    bundle = _bundle(device, firmware, no_flash)
    if bundle is not None:
        keep_symbols_of(bundle)
    folder = new_out(Path("out"), board) if out is None else out
    if (folder / HISTORY_FILE).exists():
        raise BenchError(
            f"{folder} holds a run already: a history is never overwritten",
            hint="choose another --out, or move the old run away",
        )
    plan = Plan(
        scenarios=chosen,
        seed=seed,
        cycles=cycles,
        timeout=timeout,
        fail_fast=fail_fast,
        catalogue=not scenarios and faults is None,
        swallow=frozenset(swallow),
        server=server,
        seconds=seconds,
        radio=radio_of(benched),
        generation=generation or benched.generation_of(board),
    )
    report = report_console(stderr=as_json)
    verdict = _play(device, plan, folder, bundle, report, wait=wait)
    if as_json:
        click.echo(full_json(verdict, remember=True))
    else:
        run_crashes(verdict, remember=True)
    repeat = again(click.get_current_context())
    show_sum(report, verdict, repeat=repeat)
    raise SystemExit(verdict.verdict.exit_code)


def again(context: click.Context) -> list[str]:
    """The command that repeats this run, into a folder of its own."""
    words = ["rig", "run"]
    for param in context.command.params:
        name = str(param.name)
        value = context.params.get(name)
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if name in _NOT_REPEATED or not (given or name in _ALWAYS_SAID):
            continue
        values = value if isinstance(value, tuple) else (value,)
        for each in values:
            if isinstance(param, click.Option):
                words.append(param.opts[0])
                if param.is_flag:
                    continue
            words.append(f"{each:g}" if isinstance(each, float) else str(each))
    return [shlex.quote(word) for word in words]


def _bundle(board: Board, firmware: Path | None, no_flash: bool) -> Bundle | None:
    if not no_flash:
        return bundle_for(board, firmware)
    if firmware is not None:
        raise BenchError("--firmware and --no-flash contradict each other", hint="drop one")
    return None


def _play(
    board: Board, plan: Plan, out: Path, bundle: Bundle | None, report: Console, *, wait: bool
) -> RunVerdict:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    progress = Progress(*columns, console=report, transient=True, disable=not report.is_terminal)
    with progress:
        show = _Show(report, progress, out)
        try:
            return asyncio.run(_interruptible(board, plan, out, bundle, show, wait=wait))
        except (KeyboardInterrupt, asyncio.CancelledError):
            report.print("interrupted; what was played so far is judged", style="yellow")
        except RigError as error:
            if error.exit_code == BenchError.exit_code or not _played(out):
                raise
            report.print(f"the run ended early: {error}", style="yellow", markup=False)
    return conclude(out)


def _played(out: Path) -> bool:
    try:
        return bool(conclude(out).scenarios)
    except RigError:
        return False


async def _interruptible(
    board: Board, plan: Plan, out: Path, bundle: Bundle | None, show: _Show, *, wait: bool
) -> RunVerdict:
    """The run; SIGTERM ends it as Ctrl-C does."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with holding(board, "rig run", wait=wait):
        return await run(
            board,
            plan,
            out,
            bundle=bundle,
            on_progress=show.said,
            on_flash=show.flashing,
            on_scenario=show.scenario,
        )
