"""What a device's controller asks for, done: play, pause, stop, next, previous, repeat, shuffle.

aiosendspin answers volume, mute and switch itself, and hands the rest to its application: this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from rig.servers.engine import Engine, aiosendspin

OFFERED: Final = (
    "play",
    "pause",
    "stop",
    "next",
    "previous",
    "repeat_off",
    "repeat_one",
    "repeat_all",
    "shuffle",
    "unshuffle",
)
"""Commands that a device is offered beside aiosendspin's own (roles/controller, `MediaCommand`)."""


class Controlled(Protocol):
    """What can be told to play on, to stop, and to go to another track."""

    async def resume(self) -> None:
        """Play what was played last."""
        ...

    async def pause(self) -> None:
        """End the stream."""
        ...

    async def skip(self, tracks: int) -> None:
        """Go so many tracks on, or back."""
        ...


class Controls:
    """Listens to one group at a time, and does what its controllers ask for."""

    def __init__(self, engine: Engine, controlled: Controlled) -> None:
        """Nothing is offered until `attach`."""
        self._engine = engine
        self._controlled = controlled
        self._group: Any = None
        self._turn = asyncio.Lock()
        self._unlisten: Callable[[], None] = lambda: None

    def attach(self, group: Any) -> None:
        """Offer the commands to `group`, instead of the one before."""
        if group is self._group:
            return
        self.detach()
        self._group = group
        role = group.group_role("controller")
        if role is not None:
            media = aiosendspin("models.types").MediaCommand
            self._engine.call(role.set_supported_commands, [media(each) for each in OFFERED])
        self._unlisten = group.add_event_listener(self._heard)

    def detach(self) -> None:
        """Listen to nobody any more."""
        self._unlisten()
        self._unlisten = lambda: None
        self._group = None

    def _heard(self, group: Any, event: Any) -> None:
        controls = aiosendspin("server.roles.controller.events")
        role = group.group_role("controller")
        match event:
            case controls.ControllerPlayEvent():
                self._do(self._controlled.resume())
            case controls.ControllerPauseEvent() | controls.ControllerStopEvent():
                self._do(self._controlled.pause())
            case controls.ControllerNextEvent():
                self._do(self._controlled.skip(1))
            case controls.ControllerPreviousEvent():
                self._do(self._controlled.skip(-1))
            case controls.ControllerRepeatEvent(mode=mode):
                role.set_repeat(mode)
            case controls.ControllerShuffleEvent(shuffle=shuffle):
                role.set_shuffle(shuffle)
            case _:
                pass

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        self._engine.task(self._in_turn(work)).add_done_callback(self._done)

    async def _in_turn(self, work: Coroutine[Any, Any, None]) -> None:
        """One after the other: a pause takes longer than the play behind it."""
        async with self._turn:
            await work

    def _done(self, task: Any) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._engine.warned(f"a controller's command could not be done: {error}")
