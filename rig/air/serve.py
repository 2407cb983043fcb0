"""What the helper does between its first command and its end, and what it heals before.

Apart from `rig.air.helper` so that nothing of netlink is loaded before it is known to be wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from rig.air.effects import Effects
from rig.air.journal import Journal
from rig.air.netfilter import Tables
from rig.air.outlet import Outlet
from rig.air.protocol import LONGEST_LINE, Begin, Command, Done, Refused, decode_request
from rig.air.session import Session
from rig.air.traffic import Shaper
from rig.air.undo import heal
from rig.errors import FaultError, RigError

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def serve() -> int:
    """Carry out what comes on stdin until it ends; the exit code."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    out, outlet = await loop.connect_write_pipe(Outlet, sys.stdout.buffer)
    task = asyncio.current_task()
    assert task is not None

    def end() -> None:
        """Once: a second signal must not cut the taking back short."""
        for number in _SIGNALS:
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        return await _session(reader, outlet)
    except asyncio.CancelledError:
        return 0  # a signal: everything has been taken back on the way here
    except RigError as error:
        outlet.say(Refused(error=error.message, hint=error.hint))
        return 1
    finally:
        transport.close()
        out.close()


async def _session(reader: asyncio.StreamReader, outlet: Outlet) -> int:
    first = await _next(reader, outlet)
    if first is None:
        return 0
    number, begin = first
    if not isinstance(begin, Begin):
        raise FaultError("the first command has to be `begin`")
    await heal(Path(begin.journal))
    shaper = Shaper()
    try:
        async with Tables() as tables:
            with Journal(Path(begin.journal), begin.run) as journal:
                session = Session(begin, Effects(begin.run, journal, tables, shaper), outlet)
                outlet.say(Done(id=number, note=f"pid {os.getpid()}"))
                try:
                    while (request := await _next(reader, outlet)) is not None:
                        outlet.say(await session.carry_out(*request))
                finally:
                    await session.close()
    finally:
        shaper.close()
    return 0


async def _next(reader: asyncio.StreamReader, outlet: Outlet) -> tuple[int, Command] | None:
    """The next command; None at the pipe's end. What is none is refused, and the next one read."""
    while True:
        await outlet.room()  # who does not read answers is asked for no more commands
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError as error:
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readexactly(error.consumed)
            outlet.say(Refused(error=f"a message of more than {LONGEST_LINE} bytes"))
            continue
        try:
            request = decode_request(line)
        except ValueError as error:
            outlet.say(Refused(error=f"no command of the list: {error}"))
            continue
        return request.id, request.command


async def heal_all(folder: Path) -> int:
    """Undo what dead helpers left, one line each on stdout."""
    left = 0
    for healed in await heal(folder):
        for what in healed.undone:
            sys.stdout.write(f"healed\t{what}\n")
        if healed.left is not None:
            left += 1
            sys.stdout.write(f"left\t{healed.path.name}: {healed.left}\n")
    return 1 if left else 0
