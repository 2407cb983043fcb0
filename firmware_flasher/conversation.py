"""One worker process for one request: started, talked to, ended. The parent's side of the pipe."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import anyio
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from firmware_flasher.diagnose import Context, diagnose
from firmware_flasher.errors import FlashTimeout, WorkerFailed
from firmware_flasher.messages import (
    LENGTH,
    Done,
    Event,
    Failed,
    Request,
    ResetAsked,
    ResetDone,
    Resetting,
    Up,
    body_length,
    pack,
    unpack_up,
)
from firmware_flasher.port import Port, holders

_STDERR_TAIL = 2_000


class PowerCycle(Protocol):
    """Takes the board's power away for a moment."""

    async def __call__(self) -> None: ...


class Reset(Protocol):
    """Resets the board from outside, into its ROM loader on request; `Board.reset` is one."""

    async def __call__(self, *, download: bool = False) -> None: ...


def ignore(event: Event) -> None:
    """An `on_event` that does nothing."""


async def serve(
    request: Request,
    port: Port,
    on_event: Callable[[Event], None],
    reset: Reset | None,
    deadline: float,
    power_cycle: PowerCycle | None = None,
) -> Done:
    """Run one worker for one request. Raises `FlashError`."""
    try:
        with anyio.fail_after(deadline):
            outcome = await _converse(request, on_event, reset, power_cycle)
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
    request: Request,
    on_event: Callable[[Event], None],
    reset: Reset | None,
    power_cycle: PowerCycle | None,
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
                        if power_cycle is not None and message.cold:
                            await power_cycle()
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
