"""The command line: `rig COMMAND ...`. Commands load only when they are called or asked for help.

The table below is all that `rig --help` needs, so that a call starts in a few tens of milliseconds.
A command whose module is not part of this installation is not listed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from rig.errors import RigError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell gives it to a process that SIGINT ended."""
READER_LEFT = 128 + signal.SIGPIPE
"""Exit code when whoever read the output has gone (`rig boards | head`). No verdict: not 0."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: where it lives (`module:attribute`), its line of help, its group."""

    target: str
    help: str
    group: str


_TEST, _BOARD, _CRASH, _HERE = "Test a board", "Boards", "Crashes", "This machine"

COMMANDS: dict[str, Entry] = {
    "run": Entry("rig.commands.run:command", "Break its connection, judge what it did.", _TEST),
    "verdict": Entry("rig.commands.verdict:command", "Judge a run's folder again.", _TEST),
    "scenarios": Entry("rig.commands.scenarios:command", "List the scenarios.", _TEST),
    "faults": Entry("rig.commands.faults:command", "List the faults and how each is seen.", _TEST),
    "checks": Entry("rig.commands.checks:command", "List the checks.", _TEST),
    "wire": Entry("rig.commands.wire:command", "Show what crossed the wire in a run.", _TEST),
    "serve": Entry("rig.commands.serve:command", "Serve a board as a Sendspin server.", _TEST),
    "fault": Entry("rig.commands.fault:command", "Make a network fault by hand.", _BOARD),
    "boards": Entry("rig.commands.boards:command", "List boards: port, address, state.", _BOARD),
    "discover": Entry("rig.commands.discover:command", "List devices that announce.", _BOARD),
    "flash": Entry("rig.commands.flash:command", "Write a firmware bundle and boot it.", _BOARD),
    "provision": Entry("rig.commands.provision:command", "Give a board its WiFi network.", _BOARD),
    "monitor": Entry("rig.commands.monitor:command", "Show a board's serial log, live.", _BOARD),
    "reset": Entry("rig.commands.reset:command", "Reset a board.", _BOARD),
    "power": Entry("rig.commands.power:command", "Switch a board's supply.", _BOARD),
    "unplug": Entry("rig.commands.unplug:command", "Take a virtual board off its power.", _BOARD),
    "erase": Entry("rig.commands.erase:command", "Make a board's flash blank.", _BOARD),
    "read-flash": Entry("rig.commands.read_flash:command", "Read a board's flash.", _BOARD),
    "coredump": Entry("rig.commands.coredump:command", "Save and decode its core dump.", _BOARD),
    "lock": Entry("rig.commands.lock:command", "Say who holds which board; hold one.", _BOARD),
    "unlock": Entry("rig.commands.unlock:command", "Clear away what killed holders left.", _BOARD),
    "bench": Entry("rig.commands.bench:command", "Check a bench file.", _BOARD),
    "triage": Entry("rig.commands.triage:command", "Find the crashes in serial logs.", _CRASH),
    "crashes": Entry("rig.commands.crashes:command", "Show the crashes known so far.", _CRASH),
    "symbols": Entry("rig.commands.symbols:command", "Keep ELF files for decoding.", _CRASH),
    "doctor": Entry("rig.commands.doctor:command", "Say what works on this machine.", _HERE),
    "heal": Entry("rig.commands.heal:command", "Undo what a killed run left behind.", _HERE),
    "completion": Entry("rig.commands.completion:command", "Print shell completion.", _HERE),
}
"""Every command by name, in the order `rig --help` shows them."""

EPILOG = """\b
Examples:
  rig flash virtual fixtures/firmware/v0.7.0   flash and boot a board that needs no hardware
  rig monitor virtual                          its serial log, live
  rig doctor                                   what works on this machine, what is missing

\b
Exit codes: 0 pass, 1 fail, 2 wrong use, 3 inconclusive.
"""


def available(entry: Entry) -> bool:
    """Whether the command's module is part of this installation. Imports nothing."""
    module = entry.target.partition(":")[0]
    path = Path(__file__).parent.parent.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or path.joinpath("__init__.py").is_file()


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is needed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; `rig help COMMAND` is `rig COMMAND --help`."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's)
        """Names of the commands, in the table's order."""
        return [name for name, entry in COMMANDS.items() if available(entry)]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 (click's)
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command, or None: there is no such command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None or not available(entry):
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown name is answered with the nearest known ones."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=3)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command '{name}'.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by group, from the table alone."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            entry = COMMANDS[name]
            groups.setdefault(entry.group, []).append((name, entry.help))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from rig import __version__

    click.echo(f"rig {__version__}")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show it."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Break an ESP32's connection on purpose, prove it, and say whether the device survived."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    elif ctx.invoked_subcommand not in ("heal", "completion"):
        _heal_after_a_killed_run()


def _heal_after_a_killed_run() -> None:
    """Take back what a killed run left on the network. Costs nothing when there is nothing."""
    from rig.air.leftovers import POWERED_OFF, folder, leftovers

    if leftovers(folder(), POWERED_OFF):
        from rig.campaign.radio import put_on_again

        put_on = put_on_again(folder())
        for what in put_on.healed:
            click.echo(f"healed after a killed run: {what}", err=True)
        for what in put_on.left:
            click.secho(f"warning: {what}", fg="yellow", err=True)
    if not leftovers(folder()):
        return
    from rig.air.healing import heal_leftovers

    try:
        report = heal_leftovers()
    except RigError as error:
        click.secho(f"warning: {error.message}", fg="yellow", err=True)
        click.echo(f"  next: {error.hint}", err=True)
        return
    for what in report.healed:
        click.echo(f"healed after a killed run: {what}", err=True)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or what a task group wrapped."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _complain(error: RigError) -> int:
    from rig.console.printable import printable  # a file's or a device's name may be in it

    click.secho(printable(f"error: {error.message}", keep="\t\n"), fg="red", err=True)
    if error.hint:
        click.echo(printable(f"  next: {error.hint}", keep="\t\n"), err=True)
    return error.exit_code


def _interrupted() -> int:
    click.echo("interrupted", err=True)
    return INTERRUPTED


def _settle(group: BaseExceptionGroup[BaseException]) -> int:
    """As `run` does for one error. Raises the group again when it holds a bug."""
    leaves = list(_leaves(group))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return _interrupted()
    known = [leaf for leaf in leaves if isinstance(leaf, RigError)]
    if len(known) != len(leaves):
        raise group
    return max(_complain(error) for error in known)


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code.

    A command's own return value is its exit code. Raises only what is a bug of the rig.
    """
    stdout = sys.stdout
    try:
        result = cli.main(
            args=None if args is None else list(args), prog_name="rig", standalone_mode=False
        )
        sys.stdout.flush()
    except (KeyboardInterrupt, click.exceptions.Abort):  # Abort: click's word for Ctrl-C
        return _interrupted()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except RigError as error:
        return _complain(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return READER_LEFT
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return READER_LEFT  # click met the broken pipe: it has replaced the stream, and left
    except BaseExceptionGroup as group:
        return _settle(group)
    return result if isinstance(result, int) else 0


def _end_cleanly_on_signals() -> None:
    """SIGTERM and a closed terminal end a command as Ctrl-C does: it undoes what it did."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def main() -> NoReturn:
    """The `rig` command. A bug of the rig is no verdict on a board: it ends as inconclusive."""
    _end_cleanly_on_signals()
    if os.environ.get("GITHUB_ACTIONS"):
        from rig.console.workflow import guard

        guard()
    try:
        code = run()
    except Exception:  # noqa: BLE001 (the outermost boundary; printed whole, not obeyed)
        import traceback

        from rig.console.printable import printable

        click.echo(printable(traceback.format_exc(), keep="\t\n"), err=True, nl=False)
        click.secho("error: this is a bug in the rig; nothing is said of the board", err=True)
        code = RigError.exit_code
    sys.exit(code)
