"""One worker process for one request: started, talked to, ended. The parent's side of the pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio
import msgspec
from anyio.abc import SocketStream
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
from firmware_flasher.starting import Worker


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
    worker: Worker | None = None,
) -> Done:
    """Have one worker serve one request; `worker`: one that was started ahead.

    Raises `FlashError`.
    """
    try:
        with anyio.fail_after(deadline):
            outcome = await _converse(worker or Worker(), request, on_event, reset, power_cycle)
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
    worker: Worker,
    request: Request,
    on_event: Callable[[Event], None],
    reset: Reset | None,
    power_cycle: PowerCycle | None,
) -> Done | Failed:
    """Talk to a worker until its last message; it is dead when this returns."""
    try:
        async with await SocketStream.from_socket(worker.socket) as stream:
            messages = BufferedByteReceiveStream(stream)
            await stream.send(pack(request))
            while True:
                message = await _receive(messages)
                if isinstance(message, Done | Failed):
                    return message
                if isinstance(message, ResetAsked):
                    if power_cycle is not None and message.cold:
                        await power_cycle()
                    if reset is not None:
                        await reset(download=message.download)
                    await stream.send(pack(ResetDone()))
                else:
                    on_event(message)
    except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
        raise WorkerFailed(
            f"the esptool worker ended without a result {worker.last_words()}",
            hint="try again; the same again is a bug of this rig or of esptool: report it",
        ) from None
    except msgspec.DecodeError as error:
        raise WorkerFailed(f"the esptool worker does not make sense: {error}") from error
    finally:
        worker.end()


async def _receive(stream: BufferedByteReceiveStream) -> Up:
    prefix = await stream.receive_exactly(LENGTH.size)
    return unpack_up(await stream.receive_exactly(body_length(prefix)))
