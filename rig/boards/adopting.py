"""Attached ports into a bench file: by MAC and USB place, with all that is in the file kept.

The file is edited as text with its structure (tomlkit): comments, order and spacing stay.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from rig.boards.bench import Bench, parse_bench
from rig.boards.discovery import FoundPort, read_mac
from rig.boards.serial_board import SerialBoard, SerialSettings
from rig.errors import BenchError

HEADING = "# The boards of this bench; docs/bench.md has every key.\n"


@dataclass(frozen=True, slots=True)
class Adopted:
    """One port that has its table now. `moved_from`: it had one already, at another place."""

    name: str
    port: FoundPort
    moved_from: str | None = None


def board_on(port: FoundPort, name: str | None = None) -> SerialBoard:
    """The board on an attached port that the bench may have no name for."""
    if port.usb is None:
        return SerialBoard(name or port.device, SerialSettings(port=port.device))
    settings = SerialSettings(usb=port.usb, serial=port.serial)
    return SerialBoard(name or port.device, settings)


def name_for(port: FoundPort, taken: Iterable[str]) -> str:
    """A name: chip and the MAC's second half, else its USB place."""
    if port.identity is not None:
        chip = (port.identity.chip or "esp").lower().replace("-", "").replace(" ", "")
        base = f"{chip}-{port.identity.mac.replace(':', '')[6:]}"
    else:
        base = f"usb-{port.place or Path(port.device).name}".replace(":", "-")
    names, number, name = set(taken), 1, base
    while name in names:
        number += 1
        name = f"{base}-{number}"
    return name


def adopt(
    source: str, path: Path, bench: Bench, ports: Sequence[FoundPort], name: str | None = None
) -> tuple[str, list[Adopted]]:
    """The bench file's text with the ports in it that it did not have, and which those are.

    `bench`: what `source` says now. `name`: for a single port. Raises `BenchError` for a name that
    is taken, and for a file that cannot take a table.
    """
    if name is not None and name in bench.boards:
        raise BenchError(f"the board '{name}' is in {path} already", hint="choose another name")
    try:
        document = tomlkit.parse(source or HEADING)
        adopted = [one for port in ports if (one := _adopt(document, bench, port, name))]
        text = _with_line_ends_of(source, tomlkit.dumps(document))
    except TOMLKitError as error:
        raise BenchError(f"{path}: cannot add a board to it: {error}") from error
    after = parse_bench(text.encode(), path)
    changed = {one.name for one in adopted}
    if any(after.boards.get(kept) != bench.boards[kept] for kept in bench.boards.keys() - changed):
        raise BenchError(
            f"{path}: a board added to it would change another one",
            hint="give each board a [boards.NAME] table of its own, then try again",
        )
    return text, adopted


def _adopt(document: Any, bench: Bench, port: FoundPort, name: str | None) -> Adopted | None:
    known = _known(bench, port)
    boards = document.get("boards")
    if known is not None:
        old = getattr(bench.boards[known].settings, "usb", None)
        if old is None or old in (port.usb, port.place) or port.mac is None:
            return None
        boards[known]["usb"] = port.place
        return Adopted(known, port, moved_from=old)
    if boards is None:
        boards = document["boards"] = tomlkit.table(is_super_table=True)
    table = tomlkit.table() if not isinstance(boards, tomlkit.items.InlineTable) else None
    entry: Any = table if table is not None else tomlkit.inline_table()
    given = name or name_for(port, boards)
    if port.mac:
        entry["mac"] = port.mac
    if port.place:
        entry["usb"] = port.place
    if not port.mac and not port.place:
        entry["port"] = port.device
    if port.identity is not None and port.identity.chip:
        entry["chip"] = port.identity.chip.lower().replace("-", "")
    if table is not None and list(document)[-1] != "boards":
        table.add(tomlkit.nl())
    boards[given] = entry
    return Adopted(given, port)


def _with_line_ends_of(source: str, text: str) -> str:
    """tomlkit ends its own lines in a newline alone, also in a file from Windows."""
    alone = re.compile(r"(?<!\r)\n")
    return alone.sub("\r\n", text) if "\r\n" in source and not alone.search(source) else text


def _known(bench: Bench, port: FoundPort) -> str | None:
    """The bench's name for what is on this port."""
    for entry in bench.boards.values():
        settings = entry.settings
        mac = getattr(settings, "mac", None)
        if mac is not None and port.mac is not None:
            if read_mac(mac) == port.mac:
                return entry.name
            continue
        usb = getattr(settings, "usb", None)
        if usb is not None:
            serial = getattr(settings, "serial", None)
            if usb in (port.usb, port.place) and serial in (None, port.serial):
                return entry.name
            continue
        serial = getattr(settings, "serial", None)
        if serial is not None and serial == port.serial:
            return entry.name
        devices = {getattr(settings, key, None) for key in ("port", "console", "flash")}
        names = {port.device, port.link, str(Path(port.device).resolve())}
        if any(device in names for device in devices if device):
            return entry.name
    return None


def write_bench(path: Path, text: str) -> None:
    """The file, whole or not at all, with the mode it had. Raises `BenchError`."""
    target = path.resolve()  # a link stays a link
    try:
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o644
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            Path(part).chmod(mode)
            Path(part).replace(target)
        except OSError:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BenchError(
            f"cannot write the bench file {path}: {error.strerror}",
            hint="name one that you may write to with --bench FILE",
        ) from error
