"""The bench file: which boards there are and how to reach them. Read, checked, typed.

Every error names file, line and column, what was expected, and the nearest valid key.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import msgspec

from rig.boards import kind_class, kinds, nearest
from rig.boards.network import INLINE, Network
from rig.errors import BenchError

DEFAULT_FILE = "bench.toml"
ENVIRONMENT = "SENDSPIN_RIG_BENCH"
DEFAULT_KIND = "plain"
BY_IDENTITY = {"mac", "usb", "serial", "port"}
"""Keys that say that a board is of the kind `serial`."""
GENERATIONS = ("legacy", "noise")
_LARGEST = 1 << 20

Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoardEntry:
    """A board as the bench file describes it; `settings` is what its kind declares."""

    name: str
    kind: str
    settings: Any
    generation: str | None = None
    """The wire generation that it must speak (`legacy`, `noise`); None: either."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A checked bench file, or an empty bench (`path` None): boards that need no file."""

    path: Path | None = None
    boards: Mapping[str, BoardEntry] = field(default_factory=dict)
    network: Network | None = None

    def generation_of(self, board: str) -> str | None:
        """The wire generation that a board must speak, where the file says so."""
        entry = self.boards.get(board)
        return entry.generation if entry is not None else None


def find_bench(given: Path | None = None) -> Bench:
    """The bench to use: the file given, `$SENDSPIN_RIG_BENCH`, `bench.toml` here, or none."""
    if given is not None:
        return load_bench(given)
    named = os.environ.get(ENVIRONMENT)
    if named:
        return load_bench(Path(named))
    here = Path(DEFAULT_FILE)
    return load_bench(here) if here.is_file() else Bench()


def bench_file(given: Path | None = None) -> Path:
    """The path of the bench file to use, whether or not it is there."""
    named = os.environ.get(ENVIRONMENT)
    return given or Path(named or DEFAULT_FILE)


def read_bench_text(path: Path) -> tuple[str, Bench]:
    """The text of a bench file and what it says; empty where it is not there."""
    if not path.exists():
        return "", Bench(path)
    source = _read(path)
    bench = parse_bench(source, path)
    return source.decode(), bench


def load_bench(path: Path) -> Bench:
    """Read and check a bench file. Raises `BenchError` for everything that is wrong with it."""
    return parse_bench(_read(path), path)


def parse_bench(source: bytes, path: Path) -> Bench:
    """As `load_bench`, of bytes in hand; `path` is for the messages."""
    try:
        tables = tomllib.loads(source.decode())
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise BenchError(f"{path}:{line}: expected UTF-8 text, found byte {error.start}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BenchError(*_syntax(path, source, error), hint="see docs/bench.md") from error
    reader = _Reader(path, source)
    for key in tables:
        if key not in ("boards", "network"):
            guess = nearest(key, ["boards", "network"])
            reader.fail((key,), f"unknown key '{key}'{guess}", "[boards.NAME] or [network]")
    boards = tables.get("boards", {})
    if not isinstance(boards, dict):
        reader.fail(("boards",), "expected a table for each board", "[boards.NAME]")
    found = {name: reader.board(name, table) for name, table in boards.items()}
    reader.refuse_twins(found)
    return Bench(path, found, reader.network(tables["network"]) if "network" in tables else None)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            source = file.read(_LARGEST + 1)
    except OSError as error:
        raise BenchError(
            f"cannot read the bench file {path}: {error.strerror}",
            hint="name it with --bench FILE; docs/bench.md shows one",
        ) from error
    if len(source) > _LARGEST:
        raise BenchError(f"{path}: expected a bench file, found more than {_LARGEST} bytes")
    return source


def _syntax(path: Path, source: bytes, error: Exception) -> tuple[str]:
    """tomllib's words, with its position moved to the front where a compiler would have it."""
    text = str(error)
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", text)
    if place is None:
        return (f"{path}: no TOML: {text}",)
    lines = source.decode().split("\n")
    line, column = place[1] or len(lines), place[2] or len(lines[-1]) + 1
    return (f"{path}:{line}:{column}: no TOML: {text[: place.start()]}",)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns the tables of one file into boards, and knows where each key stands in it."""

    path: Path
    source: bytes

    def fail(self, key: Path_, what: str, expected: str) -> NoReturn:
        """Raise `BenchError` at `key`, or at the table around it where the key is not spelt out."""
        from rig.boards.toml_position import key_position

        place = None
        for length in range(len(key), 0, -1):
            place = key_position(self.source, key[:length])
            if place is not None:
                break
        where = f"{self.path}:{place[0]}:{place[1]}" if place else str(self.path)
        raise BenchError(f"{where}: {what}", hint=f"expected {expected}; see docs/bench.md")

    def board(self, name: str, table: object) -> BoardEntry:
        """One `[boards.NAME]` table."""
        key = ("boards", name)
        if not isinstance(table, dict):
            self.fail(key, f"'{name}' is no table", f"[boards.{name}]")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            self.fail(key, f"'{name}' is no name for a board", "letters, digits, '-', '_', '.'")
        if name in kinds():
            self.fail(key, f"'{name}' is the name of a kind of board", "a name of its own")
        settings = dict(table)
        kind = settings.pop("kind", "serial" if BY_IDENTITY & settings.keys() else DEFAULT_KIND)
        if not isinstance(kind, str) or kind not in kinds():
            known = sorted(kinds())
            guess = nearest(str(kind), known)
            self.fail((*key, "kind"), f"no kind of board '{kind}'{guess}", " or ".join(known))
        generation = settings.pop("generation", None)
        if generation is not None and generation not in GENERATIONS:
            guess = nearest(str(generation), GENERATIONS)
            told = f"no generation '{generation}'{guess}"
            self.fail((*key, "generation"), told, " or ".join(GENERATIONS))
        others = ["kind", "generation"]
        found = self._settings(key, kind_class(kind).Settings, settings, others)
        return BoardEntry(name, kind, found, generation)

    def refuse_twins(self, boards: Mapping[str, BoardEntry]) -> None:
        """Fail at a board that is told by the same as another one: they would be one board."""
        seen: dict[object, str] = {}
        for name, entry in boards.items():
            for key in ("mac", "port"):
                value = getattr(entry.settings, key, None)
                if value is None:
                    continue
                other = seen.setdefault((key, str(value).lower()), name)
                if other != name:
                    at = ("boards", name, key)
                    self.fail(at, f"'{name}' has the {key} of '{other}'", "a board of its own")

    def network(self, table: object) -> Network:
        """The `[network]` table."""
        if not isinstance(table, dict):
            self.fail(("network",), "'network' is no table", "[network]")
        for name in INLINE:
            if name in table:
                self.fail(
                    ("network", name),
                    f"'{name}': a pass-phrase does not belong in a bench file",
                    "passphrase_env = 'VARIABLE' or passphrase_file = 'FILE' instead",
                )
        found = self._settings(("network",), Network, dict(table), [])
        assert isinstance(found, Network)
        return found

    def _settings(
        self, key: Path_, cls: type[Any], table: dict[str, Any], others: list[str]
    ) -> object:
        self._known_keys(key, cls, table, others)
        try:
            return msgspec.convert(table, cls, dec_hook=_path)
        except msgspec.ValidationError as error:
            # "Expected `str`, got `int` - at `$.console`": its place is the key in this file.
            text, _, at = str(error).partition(" - at `$")
            inner = tuple(re.findall(r"\.([A-Za-z0-9_]+)", at))
            last = ".".join(inner) or ".".join(key)
            self.fail((*key, *inner), f"{last}: {_lower(text)}", "what docs/bench.md says")
        except BenchError as error:
            # Settings that check themselves say which key it is by beginning with its name.
            path = self._owner(cls, error.message.split(":")[0])
            self.fail((*key, *path), error.message, error.hint or "another")

    def _known_keys(
        self, key: Path_, cls: type[Any], table: dict[str, Any], others: list[str]
    ) -> None:
        """Fail at the first key that the settings do not have, here and in the tables within."""
        known = [field.name for field in fields(cls)]
        for name, value in table.items():
            if name not in known:
                self.fail(
                    (*key, name),
                    f"unknown key '{name}'{nearest(name, [*known, *others])}",
                    f"one of {', '.join([*known, *others])}",
                )
            inner = _inner(cls, name)
            if inner is not None and isinstance(value, dict):
                self._known_keys((*key, name), inner, value, [])

    @staticmethod
    def _owner(cls: type[Any], name: str) -> Path_:
        """The way to a key of that name: in these settings, else in a table within them."""
        known = [one.name for one in fields(cls)]
        for owner in known:
            inner = _inner(cls, owner)
            if name not in known and inner and name in {one.name for one in fields(inner)}:
                return (owner, name)
        return (name,)


def _inner(cls: type[Any], name: str) -> type[Any] | None:
    """The settings class of a key whose value is a table; None: it is no table."""
    kind = get_type_hints(cls)[name]
    choices: tuple[type[Any], ...] = get_args(kind) or (kind,)
    return next((one for one in choices if is_dataclass(one)), None)


def _path(kind: type, value: object) -> Path:
    """msgspec reads every type that settings have, but for paths."""
    if kind is not Path or not isinstance(value, str):
        raise ValueError(f"expected a path, got {value!r}")
    return Path(value)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].replace("`", "")
