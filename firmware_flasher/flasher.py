"""The async face of the flasher: each call runs one esptool worker process and ends with it.

Cancelling a call (Ctrl-C, a timeout, a task group) kills the worker; nothing keeps the port.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firmware_flasher.bundle import Bundle
from firmware_flasher.chips import chip_name
from firmware_flasher.conversation import PowerCycle, Reset, ignore, serve
from firmware_flasher.errors import OutputError, UsageError, WorkerFailed, WrongChip
from firmware_flasher.image import SECTOR
from firmware_flasher.loading import named_chip
from firmware_flasher.messages import (
    ChipInfo,
    Done,
    EraseRequest,
    Event,
    InfoRequest,
    Link,
    Piece,
    ReadRequest,
    VerifyRequest,
    WriteRequest,
)
from firmware_flasher.port import Port, check_port
from firmware_flasher.starting import Worker

FALL_BACK_BAUDS = (460_800, 115_200)
BASE_DEADLINE = 120.0
"""Seconds for connecting, the stub and the resets, over all attempts."""

SLOWEST = 2_500
"""Bytes a second: half of what 115200 baud writes uncompressed without the stub, and retries."""


@dataclass(frozen=True, slots=True)
class FlashResult:
    """What `flash` did. Counts are regions; `verified` ones have the chip's own MD5 behind them.

    `verified` is less than `written + skipped` only where the chip cannot say (encrypted regions,
    secure download mode) or was told not to. `retries`: attempts that failed before this one.
    """

    chip: ChipInfo
    digest: str
    regions: int
    written: int
    skipped: int
    verified: int
    size: int
    sent: int
    """Bytes that were written of `size`; the rest was there already."""
    seconds: float
    baud: int
    retries: int


async def flash(
    bundle: Bundle,
    port: Port,
    *,
    on_event: Callable[[Event], None] = ignore,
    verify: bool = True,
    skip_unchanged: bool = True,
    erase_all: bool = False,
    force: bool = False,
    stub: bool = True,
    connect_attempts: int = 7,
    reset: Reset | None = None,
    power_cycle: PowerCycle | None = None,
    memory: Path | None = None,
    deadline: float | None = None,
    worker: Worker | None = None,
) -> FlashResult:
    """Write a bundle to the board on `port` and verify it.

    `skip_unchanged`: leave regions alone that the chip's own MD5 says are there already, and of
    the others the sectors that are known to be there. `memory`: the folder where is remembered
    what each board's flash holds (`memory.py`), and which flash was interrupted: then all of it is
    written anew. `reset`: how the board's owner resets it, where the port has no reset lines;
    called before each attempt (`download=True`) and after the last. `power_cycle`: called before
    each attempt but the first. `force`: write to another chip, too. `deadline`: seconds for all of
    it; None: by size. `worker`: one that was started ahead (`starting.Worker`) and serves this
    flash only. Raises `FlashError`, one kind for each cause.
    """
    started = time.monotonic()
    if port.chip is not None and chip_name(port.chip) != bundle.chip.name and not force:
        raise WrongChip(
            f"{bundle.origin}: built for {bundle.chip.label}, "
            f"but the board on {port.url} is an {named_chip(port.chip).label}",
            hint=f"build for it: idf.py set-target {chip_name(port.chip)}",
        )
    request = WriteRequest(
        link=_link(port, stub, connect_attempts, reset, power_cycle),
        pieces=_pieces(bundle),
        settings=bundle.settings,
        chip=bundle.chip.name,
        needs=bundle.needs,
        verify=verify,
        skip_unchanged=skip_unchanged,
        erase_all=erase_all,
        force=force,
        memory=str(memory or ""),
        label=bundle.label,
    )
    limit = _deadline(deadline, bundle.size)
    done = await serve(request, port, on_event, reset, limit, power_cycle, worker)
    return FlashResult(
        chip=_info(done),
        digest=bundle.digest,
        regions=len(bundle.regions),
        written=done.written,
        skipped=done.skipped,
        verified=done.verified,
        size=bundle.size,
        sent=done.sent,
        seconds=time.monotonic() - started,
        baud=done.baud,
        retries=done.retries,
    )


async def verify_flash(
    bundle: Bundle,
    port: Port,
    *,
    on_event: Callable[[Event], None] = ignore,
    stub: bool = True,
    connect_attempts: int = 7,
    reset: Reset | None = None,
    deadline: float | None = None,
) -> int:
    """Compare the board's flash with a bundle by MD5; how many regions were compared.

    Raises `VerifyMismatch`, which names the regions that differ.
    """
    request = VerifyRequest(
        link=_link(port, stub, connect_attempts, reset),
        pieces=_pieces(bundle),
        settings=bundle.settings,
        chip=bundle.chip.name,
        needs=bundle.needs,
    )
    done = await serve(request, port, on_event, reset, _deadline(deadline, bundle.size))
    return done.verified


async def chip_info(
    port: Port,
    *,
    on_event: Callable[[Event], None] = ignore,
    connect_attempts: int = 7,
    reset: Reset | None = None,
    deadline: float | None = None,
) -> ChipInfo:
    """Who is on the port: chip, revision, MAC, flash size. Resets the board; writes nothing."""
    request = InfoRequest(_link(port, False, connect_attempts, reset), _chip(port))
    return _info(await serve(request, port, on_event, reset, _deadline(deadline, 0)))


async def read_flash(
    port: Port,
    output: str | Path | None = None,
    *,
    offset: int = 0,
    size: int | None = None,
    on_event: Callable[[Event], None] = ignore,
    stub: bool = True,
    connect_attempts: int = 7,
    reset: Reset | None = None,
    deadline: float | None = None,
) -> bytes:
    """Read flash from `offset` on, `size` bytes or to its end; written to `output` as a whole.

    Raises `OutputError` before the board is touched where `output` cannot be written.
    """
    _check_range(offset, size, 1)
    target = Path(output) if output is not None else None
    if target is not None:
        _check_output(target)
    request = ReadRequest(_link(port, stub, connect_attempts, reset), offset, size, _chip(port))
    limit = _deadline(deadline, size if size is not None else 16 * 1024 * 1024)
    done = await serve(request, port, on_event, reset, limit)
    if target is not None:
        _write_output(target, done.data)
    return done.data


async def erase_flash(
    port: Port,
    *,
    offset: int = 0,
    size: int | None = None,
    on_event: Callable[[Event], None] = ignore,
    stub: bool = True,
    connect_attempts: int = 7,
    reset: Reset | None = None,
    memory: Path | None = None,
    deadline: float | None = None,
) -> None:
    """Erase flash, all of it or `size` bytes from `offset`, and verify that it is blank.

    `memory`: as for `flash`. Offset and size must be multiples of 4096 bytes. Raises `FlashError`.
    """
    _check_range(offset, size, SECTOR)
    link = _link(port, stub, connect_attempts, reset)
    request = EraseRequest(link, offset, size, _chip(port), str(memory or ""))
    await serve(request, port, on_event, reset, _deadline(deadline, size or 4 * 1024 * 1024))


# What a call is made of


def _link(
    port: Port,
    stub: bool,
    connect_attempts: int,
    reset: Reset | None,
    power_cycle: PowerCycle | None = None,
) -> Link:
    check_port(port)
    if not 1 <= connect_attempts <= 100:
        raise UsageError(f"connect_attempts: {connect_attempts}; expected 1 to 100")
    slower = [baud for baud in FALL_BACK_BAUDS if baud < port.baud]
    return Link(
        url=port.url,
        mac=port.mac,
        bauds=[port.baud, *slower],
        before="no-reset" if reset is not None else port.before,
        after=port.after,
        stub=stub and port.stub,
        connect_attempts=connect_attempts,
        owner_resets=reset is not None,
        owner_powers=power_cycle is not None,
    )


def _pieces(bundle: Bundle) -> list[Piece]:
    return [
        Piece(Path(region.source).name, region.offset, region.data, region.encrypted)
        for region in bundle.regions
    ]


def _chip(port: Port) -> str | None:
    return named_chip(port.chip).name if port.chip is not None else None


def _info(done: Done) -> ChipInfo:
    if done.info is None:
        raise WorkerFailed("the esptool worker did not say which chip it found")
    return done.info


def _deadline(asked: float | None, size: int) -> float:
    if asked is not None and asked <= 0:
        raise UsageError(f"deadline: {asked}; expected seconds above 0")
    return asked if asked is not None else BASE_DEADLINE + size / SLOWEST


def _check_range(offset: int, size: int | None, unit: int) -> None:
    if offset < 0 or offset % unit:
        raise UsageError(f"offset: {offset:#x}; expected a multiple of {unit:#x} from 0 on")
    if size is not None and (size <= 0 or size % unit):
        raise UsageError(f"size: {size:#x}; expected a multiple of {unit:#x} above 0")


def _check_output(target: Path) -> None:
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{target}: there is no folder {folder}", hint="make it first")
    if target.is_dir():
        raise OutputError(f"{target}: is a folder", hint="name a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: folder {folder} is not writable", hint="name another one")


def _write_output(target: Path, data: bytes) -> None:
    """Whole or not at all: a torn dump looks like a flash."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
