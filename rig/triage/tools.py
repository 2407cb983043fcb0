"""The symbolisers of a toolchain, where there is one: the second way, for ELF files that pyelftools
cannot read. One process answers all addresses of a crash.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from rig.triage.index import Place

_TIMEOUT = 120.0

_COMMANDS = {
    "addr2line": ["-a", "-f", "-i", "-C", "-e"],
    "llvm-symbolizer": ["--output-style=GNU", "-a", "-f", "-i", "-C", "-e"],
}
"""binutils' plain addr2line reads Xtensa and RISC-V ELF files alike."""


@cache
def symboliser() -> str | None:
    """Path of `addr2line` or `llvm-symbolizer`, or None: neither is on this machine."""
    for name in _COMMANDS:
        if path := shutil.which(name):
            return path
    return None


def ask(tool: str, elf: Path, addresses: Iterable[int]) -> dict[int, list[Place]]:
    """Functions, files and lines of addresses, inlined ones too; what it does not know is absent.

    Returns nothing at all when the tool fails: the caller has another way.
    """
    wanted = list(addresses)
    options = _COMMANDS[Path(tool).name]
    try:
        run = subprocess.run(
            [tool, *options, str(elf)],
            input="".join(f"{address:#x}\n" for address in wanted),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return _parse(run.stdout) if run.returncode == 0 else {}


def _parse(output: str) -> dict[int, list[Place]]:
    found: dict[int, list[Place]] = {}
    places: list[Place] = []
    function: str | None = None
    for text in output.splitlines():
        if text.startswith("0x") and function is None:
            places = found.setdefault(int(text, 16), [])
        elif function is None:
            function = text
        else:
            file, _, number = text.rpartition(":")
            digits = number.split(" ", 1)[0]
            if function != "??":
                known = file not in ("??", "")
                line = int(digits) if digits.isdecimal() and int(digits) else None
                places.append((function, file if known else None, line))
            function = None
    return {address: places for address, places in found.items() if places}
