"""Checks declare themselves: one module each, one pure function over a history.

`rig checks`, the docs and the pytest options are made from these declarations. Other packages add
theirs through the entry-point group `sendspin_rig.checks` (a module that declares checks).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol

import rig.checks
from rig.checks.verdict import Outcome
from rig.errors import unknown_name
from rig.history.events import Entry, Event


class Judged(Protocol):
    """A stretch of history as a check sees it: read lazily, as often as wanted."""

    @property
    def has_console(self) -> bool:
        """Whether anything at all was heard from the board's serial console in this run."""
        ...

    def __iter__(self) -> Iterator[Entry]: ...

    def only(self, *kinds: type[Event]) -> Iterator[Entry]:
        """The entries of these kinds (cheap: the others are not decoded)."""
        ...


CheckFunction = Callable[[Judged], Outcome]


@dataclass(frozen=True, slots=True)
class Check:
    """A declared check."""

    name: str
    title: str
    source: str
    """Where the invariant is written down."""
    judge: CheckFunction


_declared: dict[str, Check] = {}


def check(name: str, *, title: str, source: str) -> Callable[[CheckFunction], CheckFunction]:
    """Declare the decorated function as the check `name`."""

    def declare(function: CheckFunction) -> CheckFunction:
        _declared[name] = Check(name, title, source, function)
        return function

    return declare


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(rig.checks.__path__, "rig.checks."):
        importlib.import_module(module.name)
    for entry in entry_points(group="sendspin_rig.checks"):
        entry.load()


def all_checks() -> dict[str, Check]:
    """Every check that this installation has, by name."""
    _load()
    return dict(sorted(_declared.items()))


def get_check(name: str) -> Check:
    """The check `name`. Raises `BenchError` with the nearest name."""
    checks = all_checks()
    if name not in checks:
        raise unknown_name("check", name, checks, listing="rig checks")
    return checks[name]
