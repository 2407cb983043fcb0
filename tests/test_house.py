"""The house keeps its rules: floors, sizes, docstrings. See CONTRIBUTING.md."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("rig/**/*.py"), *ROOT.glob("firmware_flasher/**/*.py")])

FLOORS = {
    "rig.errors": 0,
    "rig.history": 1,
    "rig.console": 2,
    "rig.protocol": 2,
    "firmware_flasher": 2,
    "rig.boards": 3,
    "rig.link": 3,
    "rig.air": 3,
    "rig.servers": 3,
    "rig.checks": 4,
    "rig.faults": 4,
    "rig.scenarios": 5,
    "rig.campaign": 6,
    "rig.triage": 6,
    "rig.report": 7,
    "rig.commands": 8,
    "rig.cli": 8,
    "rig.pytest_plugin": 8,
    "rig.__main__": 8,
}
"""Each room's floor (shared/DESIGN.md, "The house")."""

LONG, TOO_LONG = 400, 500
"""Lines: over the first a file is warned of, over the second it has to be split."""
CATALOGUES = {"rig.history.events"}
"""Files that only list declarations may be longer."""
VIRTUAL_NEEDS = (
    *("rig.boards.virtual", "rig.errors", "rig.boards.base", "rig.boards.home"),
    "rig.boards.nvs_partition",  # the format that both read
)


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files_of(folder: Path) -> list[Path]:
    return [path for path in SOURCES if path.parent == folder]


in_each_folder = pytest.mark.parametrize(
    "folder",
    sorted({path.parent for path in SOURCES}),
    ids=lambda folder: str(folder.relative_to(ROOT)),
)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def room(name: str) -> str | None:
    """The room a module lives in; None for `rig` itself and for other people's packages."""
    return next((r for r in FLOORS if name == r or name.startswith(r + ".")), None)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, with the line."""
    package = module(path) if path.name == "__init__.py" else module(path).rpartition(".")[0]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(above) if node.level else ""
            name = ".".join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The public classes and functions of a file, and the public methods of its classes."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                method = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                if method and not inner.name.startswith("_"):
                    yield inner


def says_something(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether it has a docstring, or needs none: a setter, a method of one statement."""
    if not isinstance(node, ast.ClassDef) and node.col_offset and len(node.body) == 1:
        return True
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
    return ast.get_docstring(node) is not None or bool(marks & {"overload", "override", "setter"})


@in_each_folder
def test_a_room_imports_only_from_the_floors_below_it(folder: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {own} (floor {FLOORS[own]}) imports {name}"
        for path in files_of(folder)
        for own in [room(module(path))]
        for line, name in imports(path)
        if own is not None
        and (other := room(name)) not in (None, own)
        and FLOORS[other] >= FLOORS[own]
        and FLOORS[own] < 8  # the front doors may know each other
    ]
    assert wrong == []


def test_every_room_stands_on_a_floor() -> None:
    assert [
        module(path) for path in SOURCES if module(path) != "rig" and not room(module(path))
    ] == []


def test_the_flasher_knows_nothing_of_the_rig() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in ROOT.glob("firmware_flasher/**/*.py")
        for line, name in imports(path)
        if name.split(".")[0] == "rig"
    ]
    assert found == []


def test_the_virtual_board_needs_little_of_the_rig() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in ROOT.glob("rig/boards/virtual/**/*.py")
        for line, name in imports(path)
        if name.split(".")[0] == "rig" and not name.startswith(VIRTUAL_NEEDS)
    ]
    assert found == []


def test_nothing_but_the_list_of_kinds_knows_the_virtual_board() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for line, name in imports(path)
        if name.startswith("rig.boards.virtual")
        and not module(path).startswith("rig.boards.virtual")
    ]
    assert found == []


@in_each_folder
def test_a_file_is_read_in_one_sitting(folder: Path) -> None:
    for path in files_of(folder):
        lines = len(path.read_bytes().splitlines())
        if lines > LONG and module(path) not in CATALOGUES:
            warnings.warn(f"{path.relative_to(ROOT)} has {lines} lines: split it", stacklevel=1)
        assert lines <= TOO_LONG or module(path) in CATALOGUES, path


@in_each_folder
def test_everything_public_says_what_it_is(folder: Path) -> None:
    for path in files_of(folder):
        tree = parsed(path)
        assert ast.get_docstring(tree), f"{path}: the module has no docstring"
        assert [
            f"{path}:{node.lineno}: {node.name}"
            for node in public(tree)
            if not says_something(node)
        ] == []
