"""The async face of the flasher: each call runs one esptool worker process and ends with it.

Cancelling a call (Ctrl-C, a timeout, a task group) kills the worker; nothing keeps the port.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from firmware_flasher.bundle import Bundle
from firmware_flasher.chips import chip_name
from firmware_flasher.diagnose import Context, diagnose
from firmware_flasher.errors import FlashTimeout, OutputError, UsageError, WorkerFailed, WrongChip
from firmware_flasher.image import SECTOR
from firmware_flasher.loading import named_chip
from firmware_flasher.messages import (
    LENGTH,
    ChipInfo,
    Done,
    EraseRequest,
    Event,
    Failed,
    InfoRequest,
    Link,
    Piece,
    ReadRequest,
    Request,
    ResetAsked,
    ResetDone,
    Resetting,
    Up,
    VerifyRequest,
    WriteRequest,
    body_length,
    pack,
    unpack_up,
)
from firmware_flasher.port import Port, check_port, holders

FALL_BACK_BAUDS = (460_800, 115_200)
BASE_DEADLINE = 120.0
"""Seconds for connecting, the stub and the resets, over all attempts."""

SLOWEST = 2_500
"""Bytes a second: half of what 115200 baud writes uncompressed without the stub, and retries."""

_STDERR_TAIL = 2_000


class Reset(Protocol):
    """Resets the board from outside, into its ROM loader on request; `Board.reset` is one."""

    async def __call__(self, *, download: bool = False) -> None: ...


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
    seconds: float
    baud: int
    retries: int


def ignore(event: Event) -> None:
    """An `on_event` that does nothing."""


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
    deadline: float | None = None,
) -> FlashResult:
    """Write a bundle to the board on `port` and verify it.

    `skip_unchanged`: leave regions alone that the chip's own MD5 says are there already.
    `reset`: how the board's owner resets it, where the port has no reset lines; called before each
    attempt (`download=True`) and after the last. `force`: write to another chip, too. `deadline`:
    seconds for all of it; None: by size. Raises `FlashError`, one kind for each cause.
    """
    started = time.monotonic()
    if port.chip is not None and chip_name(port.chip) != bundle.chip.name and not force:
        raise WrongChip(
            f"{bundle.origin}: built for {bundle.chip.label}, "
            f"but the board on {port.url} is an {named_chip(port.chip).label}",
            hint=f"build for it: idf.py set-target {chip_name(port.chip)}",
        )
    request = WriteRequest(
        link=_link(port, stub, connect_attempts, reset),
        pieces=_pieces(bundle),
        settings=bundle.settings,
        chip=bundle.chip.name,
        needs=bundle.needs,
        verify=verify,
        skip_unchanged=skip_unchanged,
        erase_all=erase_all,
        force=force,
    )
    done = await _serve(request, port, on_event, reset, _deadline(deadline, bundle.size))
    return FlashResult(
        chip=_info(done),
        digest=bundle.digest,
        regions=len(bundle.regions),
        written=done.written,
        skipped=done.skipped,
        verified=done.verified,
        size=bundle.size,
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
    done = await _serve(request, port, on_event, reset, _deadline(deadline, bundle.size))
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
    return _info(await _serve(request, port, on_event, reset, _deadline(deadline, 0)))


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
    done = await _serve(request, port, on_event, reset, limit)
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
    deadline: float | None = None,
) -> None:
    """Erase flash, all of it or `size` bytes from `offset`, and verify that it is blank.

    Both must be multiples of 4096 bytes. Raises `FlashError`.
    """
    _check_range(offset, size, SECTOR)
    request = EraseRequest(_link(port, stub, connect_attempts, reset), offset, size, _chip(port))
    await _serve(request, port, on_event, reset, _deadline(deadline, size or 4 * 1024 * 1024))


# What a call is made of


def _link(port: Port, stub: bool, connect_attempts: int, reset: Reset | None) -> Link:
    check_port(port)
    if not 1 <= connect_attempts <= 100:
        raise UsageError(f"connect_attempts: {connect_attempts}; expected 1 to 100")
    slower = [baud for baud in FALL_BACK_BAUDS if baud < port.baud]
    return Link(
        url=port.url,
        bauds=[port.baud, *slower],
        before="no-reset" if reset is not None else port.before,
        after=port.after,
        stub=stub,
        connect_attempts=connect_attempts,
        owner_resets=reset is not None,
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


# The worker process


async def _serve(
    request: Request,
    port: Port,
    on_event: Callable[[Event], None],
    reset: Reset | None,
    deadline: float,
) -> Done:
    """Run one worker for one request. Raises `FlashError`."""
    try:
        with anyio.fail_after(deadline):
            outcome = await _converse(request, on_event, reset)
    except TimeoutError:
        raise FlashTimeout(
            f"port {port.url}: not done after {deadline:.0f} s",
            hint="check the cable; a slow port needs a longer deadline",
        ) from None
    if isinstance(outcome, Failed):
        link = request.link
        context = Context(port.url, link.before, link.owner_resets, holders(port.url))
        raise diagnose(outcome, context)
    if reset is not None:
        on_event(Resetting(download=False))
        await reset(download=False)
    return outcome


async def _converse(
    request: Request, on_event: Callable[[Event], None], reset: Reset | None
) -> Done | Failed:
    """Start a worker and talk to it until its last message; it is dead when this returns."""
    with tempfile.TemporaryFile() as stderr:
        process = await anyio.open_process(
            [sys.executable, "-P", "-m", "firmware_flasher.worker"],
            stderr=stderr,
            env=_environment(),
            start_new_session=True,  # Ctrl-C in a terminal is this process's to handle
        )
        try:
            async with process:
                assert process.stdin is not None
                assert process.stdout is not None
                messages = BufferedByteReceiveStream(process.stdout)
                await process.stdin.send(pack(request))
                while True:
                    message = await _receive(messages)
                    if isinstance(message, Done | Failed):
                        if process.returncode is None:
                            process.kill()  # it has nothing left to do
                        return message
                    if isinstance(message, ResetAsked):
                        if reset is not None:
                            await reset(download=message.download)
                        await process.stdin.send(pack(ResetDone()))
                    else:
                        on_event(message)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
            raise WorkerFailed(
                f"the esptool worker ended without a result (exit code {process.returncode}): "
                f"{_tail(stderr)}",
                hint="try again; the same again is a bug of this rig or of esptool: report it",
            ) from None
        except msgspec.DecodeError as error:
            raise WorkerFailed(f"the esptool worker does not make sense: {error}") from error


def _environment() -> dict[str, str]:
    """This process's, with the package's own place in front: `-P` keeps the working folder out."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


async def _receive(stream: BufferedByteReceiveStream) -> Up:
    prefix = await stream.receive_exactly(LENGTH.size)
    return unpack_up(await stream.receive_exactly(body_length(prefix)))


def _tail(stderr: IO[bytes]) -> str:
    """The last lines the worker wrote to its standard error: the traceback's end."""
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - _STDERR_TAIL))
    lines = stderr.read().decode("utf-8", "replace").strip().splitlines()
    return " | ".join(line.strip() for line in lines[-3:]) or "it said nothing"
