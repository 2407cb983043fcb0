"""What the model's CPU knows of the firmware: objects on its heap, and which function called which.

The firmware's `shared_ptr` is Python's own reference: an object is freed when its last owner lets
go, which CPython does at once. A raw pointer is a `Pointer`: it owns nothing, and going through it
after the object is gone is a load from freed memory, which heap poisoning turns into a load access
fault. So who may die when is decided by who holds what in the modelled version, and nowhere else.
"""

from __future__ import annotations

import itertools
import weakref
from contextvars import ContextVar

POISON = 0xFEFEFEFE
"""What freed memory holds (`CONFIG_HEAP_POISONING_COMPREHENSIVE`)."""

_addresses = itertools.count()
_stack: ContextVar[list[str]] = ContextVar("stack")


class LoadFault(Exception):
    """The CPU loaded through a pointer into freed memory.

    `pointer` is the address of the freed object, `stack` the functions of the task that did it,
    outermost first.
    """

    def __init__(self, pointer: int, stack: tuple[str, ...]) -> None:
        super().__init__(f"load through the freed object at {pointer:#x} in {stack[-1:]}")
        self.pointer = pointer
        self.stack = stack


class HeapObject:
    """An object on the heap of the model; it has an address there."""

    def __init__(self) -> None:
        # A block of 384 bytes each, somewhere in the heap of an ESP32-C3; for the dump only.
        self.address = 0x3FC9_4000 + next(_addresses) % 512 * 384


class Pointer[T: HeapObject]:
    """A raw pointer: it keeps nothing alive."""

    def __init__(self, target: T) -> None:
        self._target = weakref.ref(target)
        self._address = target.address

    def load(self) -> T:
        """Go through it. Raises `LoadFault` when the object has been freed."""
        target = self._target()
        if target is None:
            raise LoadFault(self._address, tuple(_stack.get(())))
        return target

    def lock(self) -> T | None:
        """As `weak_ptr::lock`: the object, None when it has been freed."""
        return self._target()


class call:
    """The running task is inside the firmware's function of that name."""

    __slots__ = ("_name", "_stack")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._stack = _stack.get()
        self._stack.append(self._name)

    def __exit__(self, *_exc: object) -> None:
        self._stack.pop()


def begin_task(*functions: str) -> None:
    """The running asyncio task becomes a task of the firmware, with its own call stack."""
    _stack.set(["vPortTaskWrapper", *functions])
