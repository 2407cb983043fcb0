"""Healing after a killed helper, from a process without privileges: another helper does it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.air.leftovers import folder, leftovers
from rig.air.privilege import command
from rig.errors import FaultError

_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    """What healing came to, in words."""

    healed: Sequence[str] = ()
    left: Sequence[str] = ()


def heal_leftovers(where: Path | None = None) -> Report:
    """Undo what dead helpers left behind; an empty report when there is nothing.

    Raises `FaultError` when there is something and the rights to undo it are lacking.
    """
    where = folder() if where is None else where
    found = leftovers(where)
    if not found:
        return Report()
    try:
        line = command("heal", str(where.absolute()))
    except FaultError as error:
        raise FaultError(
            f"a killed run left {len(found)} journal{'s' * (len(found) > 1)} of network changes "
            f"in {where}, and this process may not undo them",
            hint=f"sudo env SENDSPIN_RIG_HOME={where.parent} rig heal",
        ) from error
    try:
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FaultError(f"healing did not end: {error}", hint="rig heal") from error
    said = [line.partition("\t") for line in done.stdout.splitlines()]
    report = Report(
        [what for word, _, what in said if word == "healed"],
        [what for word, _, what in said if word == "left"],
    )
    if done.returncode != 0 and not report.left:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise FaultError(
            f"healing failed: {words[-1] if words else f'exit code {done.returncode}'}",
            hint="run `rig heal` as root",
        )
    return report
