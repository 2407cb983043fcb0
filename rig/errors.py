"""The error tree: what went wrong, and whose move it is.

Each message says what was expected, what was found, where, and what to do next.
The front doors (`rig.cli`, `rig.pytest_plugin`) turn `exit_code` into the process's.
"""

from __future__ import annotations

from collections.abc import Iterable


class RigError(Exception):
    """Something the rig expected did not hold. `exit_code`: 2 wrong use, 3 inconclusive."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """`message` names the thing, what was expected and found; `hint` is the next step."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class BenchError(RigError):
    """The user's file or command is wrong."""

    exit_code = 2


class FirmwareError(RigError):
    """A firmware bundle is missing, broken or not for this board."""

    exit_code = 2


class BoardError(RigError):
    """The hardware failed: port gone, board silent, never booted."""


class FaultError(RigError):
    """A fault could not be made."""


class ServerError(RigError):
    """The rig's own server or link failed."""


class HistoryError(RigError):
    """A history cannot be written or read."""


def unknown_name(what: str, name: str, known: Iterable[str], *, listing: str) -> BenchError:
    """The error for a name that is not there: it names the nearest one, and what lists them all."""
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return BenchError(f"there is no {what} {name!r}", hint=f"{hint}`{listing}` lists them")
