"""A session's objects for plain functions: every call runs in the session's event loop.

`Blocking(portal, thing)` looks like `thing`; its coroutine functions have become plain ones, and
what they return is wrapped likewise where it is one of the rig's own live objects.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from anyio.from_thread import BlockingPortal

LIVE = ("rig.servers.", "rig.link.", "rig.boards.", "rig.campaign.session", "rig.scenarios.stage")
"""Where the classes live whose objects belong to the loop."""


class Blocking:
    """A live object as a plain function sees it. `asynchronous` is the object itself."""

    __slots__ = ("_portal", "asynchronous")

    def __init__(self, portal: BlockingPortal, asynchronous: Any) -> None:
        object.__setattr__(self, "_portal", portal)
        object.__setattr__(self, "asynchronous", asynchronous)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.asynchronous, name)
        if inspect.ismethod(value):
            return self._method(value)
        return self._wrapped(value)

    def __setattr__(self, name: str, value: Any) -> None:
        call(self._portal, lambda: setattr(self.asynchronous, name, unwrapped(value)))

    def __repr__(self) -> str:
        return f"<blocking {self.asynchronous!r}>"

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def blocking(*args: Any, **kwargs: Any) -> Any:
            plain = [unwrapped(arg) for arg in args]
            named = {key: unwrapped(value) for key, value in kwargs.items()}

            async def inside() -> Any:
                result = method(*plain, **named)
                return await result if inspect.isawaitable(result) else result

            return self._wrapped(call(self._portal, inside))

        blocking.__name__ = method.__name__
        blocking.__doc__ = method.__doc__
        return blocking

    def _wrapped(self, value: Any) -> Any:
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(self._wrapped(each) for each in value)
        module = type(value).__module__
        is_live = module.startswith(LIVE) and not _is_data(value)
        return Blocking(self._portal, value) if is_live else value


def _is_data(value: Any) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return bool(parameters and parameters.frozen)


def unwrapped(value: Any) -> Any:
    """The live object inside a `Blocking`, or the value itself."""
    return value.asynchronous if isinstance(value, Blocking) else value


def call(portal: BlockingPortal, function: Callable[[], Any]) -> Any:
    """Run `function` (plain or a coroutine function) in the loop and wait for it.

    What interrupts the wait (Ctrl-C, pytest-timeout, a crash of the device) ends it in the loop.
    """

    async def inside() -> Any:
        result = function()
        return await result if inspect.isawaitable(result) else result

    future = portal.start_task_soon(inside)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
