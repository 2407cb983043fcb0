"""What several commands share: the BOARD argument and `--bench`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from rig.errors import BenchError, RigError

if TYPE_CHECKING:
    from firmware_flasher.bundle import Bundle
    from firmware_flasher.conversation import Reset
    from rig.boards.base import Board, FlashPort
    from rig.boards.lock_file import Holder

Command = Callable[..., Any]


def complete_board(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Boards of the bench, and the kinds that need none."""
    from rig.boards.bench import find_bench

    try:
        names = [*find_bench(ctx.params.get("bench")).boards, "virtual"]
    except RigError:
        names = ["virtual"]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_scenario(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of scenarios, and what they do."""
    from rig.scenarios import all_scenarios

    return _beginning(incomplete, {name: one.title for name, one in all_scenarios().items()})


def complete_check(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of checks, and what they say."""
    from rig.checks import all_checks

    return _beginning(incomplete, {name: one.title for name, one in all_checks().items()})


def complete_fault(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of faults, and what they do; also the last one of several (`loss,ra`)."""
    from rig.faults import all_faults

    before, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(before + comma + item.value, help=item.help)
        for item in _beginning(last, {name: one.title for name, one in all_faults().items()})
    ]


def _beginning(incomplete: str, titles: dict[str, str]) -> list[CompletionItem]:
    return [
        CompletionItem(name, help=title)
        for name, title in titles.items()
        if name.startswith(incomplete)
    ]


def board_argument(command: Command) -> Command:
    """`BOARD`: a name from the bench file, or `virtual`, `virtual:2`, ..."""
    return click.argument("board", shell_complete=complete_board)(command)


def bench_option(command: Command) -> Command:
    """`--bench FILE`, as `bench: Path | None`; `rig.boards.bench.find_bench` takes it."""
    return click.option(
        "--bench",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The bench file.  [default: $SENDSPIN_RIG_BENCH, or bench.toml here]",
    )(command)


def examples(*lines: str) -> str:
    """The end of a command's help: its examples, a line each."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def wait_option(command: Command) -> Command:
    """`--wait`, as `wait: bool`: queue for a board that another process holds."""
    return click.option("--wait", is_flag=True, help="Wait while another process holds it.")(
        command
    )


@contextlib.asynccontextmanager
async def holding(board: Board, purpose: str, *, wait: bool = False) -> AsyncIterator[None]:
    """Hold the board meanwhile (`rig.boards.locks.held`); says on stderr whom it waits for."""
    from rig.boards.locks import held
    from rig.console.printable import printable

    def on_wait(holder: Holder) -> None:
        click.echo(printable(f"waiting for '{board.name}': held by {holder}"), err=True)

    async with held(board, purpose, wait=wait, on_wait=on_wait):
        yield


class _Bytes(click.ParamType[int]):
    """A number of bytes, decimal or hexadecimal."""

    name = "bytes"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return value if isinstance(value, int) else int(str(value), 0)
        except ValueError:
            self.fail(f"'{value}' is no number of bytes (4096 or 0x1000)", param, ctx)


BYTES = _Bytes()
"""The type of an option that takes a place or a size in flash."""


def flash_access(board: Board) -> tuple[FlashPort, Reset | None]:
    """The port to reach its flash by, and its own reset where the port has none.

    Raises `BenchError` for a board without a flash port.
    """
    port = board.flash_port
    if port is None:
        raise BenchError(
            f"the board '{board.name}' has no flash port",
            hint="name one as `flash` in its bench table",
        )
    return port, board.reset if board.can_reset and port.before == "no-reset" else None


def keep_symbols_of(bundle: Bundle) -> None:
    """Keep a bundle's ELF file for decoding; a flash is none the worse without it."""
    from rig.boards.home import symbols_folder

    if bundle.app is None or (symbols_folder() / f"{bundle.app.elf_sha256}.elf").exists():
        return
    from rig.triage.flashed import keep_symbols  # loads a reader of ELF files: only where needed

    try:
        keep_symbols(bundle)
    except RigError as error:
        from rig.console.printable import printable

        told = f"rig: the symbols of {bundle.origin} are not kept: {error.message}"
        click.echo(printable(told), err=True)
