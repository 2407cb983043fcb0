"""When two crashes are one, two logs one, and whether a firmware should hold a fix."""

from __future__ import annotations

import hashlib
import re

from rig.history.crash import CrashRecord


def occurrence_key(record: CrashRecord, log: str) -> str:
    """What makes a crash this very crash: its log, its place there, and its text."""
    whole = "\n".join((log, str(record.line), *record.text, ""))
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def log_identity(head: bytes) -> str:
    """Identity of a log file: of its first 4 KiB, so that a log which grows stays itself."""
    return hashlib.blake2b(head[:4096], digest_size=16).hexdigest()


def holds_fix(firmware: str | None, fixed_in: str | None) -> bool:
    """Whether a firmware should hold a fix made in `fixed_in`.

    Where either version is not known, or they cannot be compared, it should: a regression that is
    told too early is looked at, one that is not told is lost.
    """
    if not firmware or not fixed_in:
        return True
    seen, fix = _version_key(firmware), _version_key(fixed_in)
    return not seen or not fix or seen >= fix


def _version_key(version: str) -> tuple[int, ...]:
    """The numbers of `v0.6.1-3-gabc`: (0, 6, 1, 3)."""
    match = re.match(r"[vV]?(\d+(?:\.\d+)*)(?:-(\d+)-g[0-9a-f]+)?", version)
    if match is None:
        return ()
    numbers = tuple(int(number) for number in match[1].split(".")[:8])
    return (*(numbers + (0,) * 4)[:4], int(match[2] or 0))
