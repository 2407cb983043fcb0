"""Who the bench's reference server is, and what it is paired with: kept between runs, in secret.

Two files in a folder of the bench's own, readable by their owner alone. Nothing of them reaches a
history, a log or a report.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rig.errors import BenchError
from rig.servers.engine import aiosendspin

IDENTITY: Final = "identity"
PAIRS: Final = "pairs.json"


@dataclass(frozen=True, slots=True)
class Vault:
    """aiosendspin's identity and pairing store."""

    folder: Path
    identity: Any
    store: Any

    def __repr__(self) -> str:
        """Names the folder, and no key."""
        return f"Vault({str(self.folder)!r})"


def bench_folder(state: Path, bench: Path | None) -> Path:
    """Where the vault of a bench file lies, below the rig's state folder."""
    name = "no-bench" if bench is None else str(bench.resolve())
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return state / "pairing" / digest


async def open_vault(folder: Path) -> Vault:
    """The vault in `folder`, made if there is none.

    Raises `BenchError` where it cannot be read or written, or others may read it.
    """
    keys, stores = aiosendspin("noise.keys"), aiosendspin("noise.trust_store")
    path, pairs = folder / IDENTITY, folder / PAIRS
    try:
        identity = _identity(keys, path, pairs)
        store = await stores.FileServerPairingStore.open(pairs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise BenchError(
            f"the bench's pairing store {folder} cannot be used: {told}",
            hint="make it readable, or move it away and pair the devices again",
        ) from error
    return Vault(folder, identity, store)


def _identity(keys: Any, path: Path, pairs: Path) -> Any:
    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _own(path.parent)
    for each in (path, pairs):
        _private(each)
    if path.exists():
        return keys.Identity.from_private_bytes(path.read_bytes())
    identity = keys.Identity.generate()
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(made, "wb") as file:
        file.write(identity.private_bytes)
    return identity


def _own(folder: Path) -> None:
    """Raises `BenchError` for a folder in which another user may have put keys of his own."""
    found = folder.lstat()
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.geteuid()
        or stat.S_IMODE(found.st_mode) & 0o022
    ):
        raise BenchError(
            f"{folder} is to hold keys, and is not a folder that you alone may write to",
            hint="look who made it; move it away, and pair the devices again",
        )


def _private(path: Path) -> None:
    """Raises `BenchError` for a file that others may read, or that another user put there."""
    if path.is_symlink() or (path.exists() and path.stat().st_uid != os.geteuid()):
        raise BenchError(
            f"{path} is to hold keys, and is a link or another user's",
            hint="look who put it there; move it away, and pair the devices again",
        )
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise BenchError(
            f"{path} holds keys, and others than its owner may read it",
            hint=f"chmod 600 {path}; the keys in it are known by now: better pair again",
        )
