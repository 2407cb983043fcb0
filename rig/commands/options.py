"""What several commands share: the BOARD argument and `--bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from rig.errors import RigError

Command = Callable[..., Any]


def _complete_board(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Boards of the bench, and the kinds that need none."""
    from rig.boards.bench import find_bench

    try:
        names = [*find_bench(ctx.params.get("bench")).boards, "virtual"]
    except RigError:
        names = ["virtual"]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def board_argument(command: Command) -> Command:
    """`BOARD`: a name from the bench file, or `virtual`, `virtual:2`, ..."""
    return click.argument("board", shell_complete=_complete_board)(command)


def bench_option(command: Command) -> Command:
    """`--bench FILE`, as `bench: Path | None`; `rig.boards.bench.find_bench` takes it."""
    return click.option(
        "--bench",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The bench file.  [default: $SENDSPIN_RIG_BENCH, or bench.toml here]",
    )(command)
