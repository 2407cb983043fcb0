"""One worker process for one request: started, talked to, ended. The parent's side of the pipe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from firmware_flasher.diagnose import Context, diagnose
from firmware_flasher.errors import FlashTimeout, WorkerFailed
from firmware_flasher.messages import (
    LENGTH,
    Done,
    Down,
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

_AT_ONCE = 1 << 20
"""Bytes that are read ahead: what was read from a flash comes as one message."""


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
        async with asyncio.timeout(deadline) as limit:
            outcome = await _converse(worker or Worker(), request, on_event, reset, power_cycle)
    except TimeoutError:
        if not limit.expired():
            raise  # somebody else's
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
    reader, writer = await asyncio.open_connection(sock=worker.socket, limit=_AT_ONCE)
    try:
        await _send(worker, writer, request)
        while True:
            message = await _receive(worker, reader)
            if isinstance(message, Done | Failed):
                return message
            if isinstance(message, ResetAsked):
                if power_cycle is not None and message.cold:
                    await power_cycle()
                if reset is not None:
                    await reset(download=message.download)
                await _send(worker, writer, ResetDone())
            else:
                on_event(message)
    finally:
        writer.close()
        worker.end()


async def _send(worker: Worker, writer: asyncio.StreamWriter, message: Down) -> None:
    try:
        writer.write(pack(message))
        await writer.drain()
    except ConnectionError:
        raise _ended(worker) from None


async def _receive(worker: Worker, reader: asyncio.StreamReader) -> Up:
    try:
        prefix = await reader.readexactly(LENGTH.size)
        return unpack_up(await reader.readexactly(body_length(prefix)))
    except (asyncio.IncompleteReadError, ConnectionError):
        raise _ended(worker) from None
    except msgspec.DecodeError as error:
        raise WorkerFailed(f"the esptool worker does not make sense: {error}") from error


def _ended(worker: Worker) -> WorkerFailed:
    return WorkerFailed(
        f"the esptool worker ended without a result {worker.last_words()}",
        hint="try again; the same again is a bug of this rig or of esptool: report it",
    )
