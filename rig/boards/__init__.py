"""The kinds of board there are, and the one door to a board by its name.

A kind is a class (see `Kind`). Other packages add theirs by an entry point in the group
`sendspin_rig.boards`: its name is the kind's, its value `module:Class`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from rig.boards.base import Address, Board, FlashPort
from rig.errors import BenchError

if TYPE_CHECKING:
    from rig.boards.bench import Bench

__all__ = [
    "ENTRY_POINTS",
    "KINDS",
    "Address",
    "Board",
    "FlashPort",
    "Kind",
    "kind_class",
    "kinds",
    "nearest",
    "open_board",
]

ENTRY_POINTS = "sendspin_rig.boards"

KINDS = {
    "plain": "rig.boards.plain:PlainBoard",
    "process": "rig.boards.process:ProcessBoard",
    "serial": "rig.boards.serial_board:SerialBoard",
    "virtual": "rig.boards.virtual.board:VirtualBoard",
}
"""The kinds that come with the rig: name -> `module:Class`."""


class Kind(Protocol):
    """What a kind of board is: its settings, and how to make a board from them.

    `Settings` is a frozen dataclass; its fields are the keys of a `[boards.NAME]` table. A kind
    whose settings all have defaults needs no bench file: its name alone is a board's name. With a
    field `number: int`, `KIND:2` is the board number 2. A class method `others() -> list[str]` may
    name the numbered ones that exist, for `rig boards`.
    """

    Settings: type[Any]

    def __call__(self, name: str, settings: Any, /) -> Board:
        """The board. Touches no hardware yet. Raises `BenchError` for settings that cannot be."""
        ...


def kinds() -> dict[str, str]:
    """Every kind by name, with those of other packages; what comes with the rig goes first."""
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | KINDS


def nearest(word: str, words: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known word nearest to `word`, or nothing."""
    import difflib

    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def kind_class(kind: str) -> Kind:
    """The class of a kind. Raises `BenchError` for one that is not known or cannot be loaded."""
    known = KINDS if kind in KINDS else kinds()
    if kind not in known:
        raise BenchError(
            f"there is no kind of board '{kind}'{nearest(kind, known)}",
            hint=f"the kinds here: {', '.join(sorted(known))}",
        )
    module, _, attribute = known[kind].partition(":")
    try:
        found: Kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BenchError(
            f"the kind of board '{kind}' cannot be loaded: {error}",
            hint=f"mend the installation that brings {known[kind]}",
        ) from error
    return found


def open_board(name: str, bench: Bench | None = None) -> Board:
    """The board called `name`: one of the bench, or a kind that needs no bench (`virtual:2`).

    It is not entered yet (`async with`). Raises `BenchError` for a name that is neither.
    """
    entries = bench.boards if bench else {}
    if name in entries:
        entry = entries[name]
        return kind_class(entry.kind)(name, entry.settings)
    kind, colon, number = name.partition(":")
    if kind in KINDS or kind in kinds():  # the latter reads every package's metadata
        return _without_bench(name, kind, number if colon else None)
    benchless = [known for known in KINDS if known not in ("plain", "process", "serial")]
    where = f"the boards in {bench.path}" if bench and bench.path else "boards without a bench file"
    if "/" in name:  # a device path or a URL
        raise BenchError(
            f"'{name}' is no board's name",
            hint=f"give it one: rig boards adopt {name} --name kitchen, or [boards.kitchen] and "
            f'port = "{name}" in bench.toml (docs/bench.md)',
        )
    raise BenchError(
        f"there is no board '{name}'{nearest(name, [*entries, *benchless])}",
        hint=f"{where}: {', '.join([*entries, *benchless])}; `rig boards` lists them"
        + ("" if bench and bench.path else "; `rig boards adopt` names those on USB"),
    )


def _without_bench(name: str, kind: str, number: str | None) -> Board:
    cls = kind_class(kind)
    given: dict[str, int] = {}
    if number is not None:
        if not any(field.name == "number" for field in fields(cls.Settings)):
            raise BenchError(f"boards of the kind '{kind}' have no numbers, as '{name}' has it")
        if not number.isascii() or not number.isdigit() or not 1 <= int(number[:9]) <= 999:
            raise BenchError(f"'{name}': expected {kind}:N with N from 1 to 999")
        given = {"number": int(number)}
    try:
        settings = cls.Settings(**given)
    except TypeError as error:
        raise BenchError(
            f"a board of the kind '{kind}' needs a bench file: {error}",
            hint=f"describe it as [boards.NAME] in bench.toml with kind = '{kind}' (docs/bench.md)",
        ) from error
    return cls(name, settings)
