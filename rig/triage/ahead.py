"""Several logs at once: processes read and decode, the caller takes the results in order.

What is found in a log waits in a file until its turn comes, so that memory stays flat however much
is found. Only the caller writes: to the database, to the terminal.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from rig.console.crash import Reset, Warned
from rig.triage.decode import Decoder
from rig.triage.logs import BLOCK, Readable, doubtful
from rig.triage.session import Found, Triaged, batches, identity_of

WORTH_IT = 16 << 20
"""Bytes of logs below which starting processes takes longer than reading."""


class _Batch(msgspec.Struct, array_like=True):
    """What was found, by kind; `order` says of what kind the first is, the second, and so on."""

    order: bytes
    crashes: list[Triaged]
    resets: list[Reset]
    warnings: list[Warned]


@dataclass(frozen=True, slots=True)
class Read:
    """A log that was read."""

    identity: str
    """See `identity_of`."""
    doubt: str | None
    """Why it is hardly a log; see `doubtful`."""
    begun: bool
    """Something of it was read."""
    error: OSError | None
    """Why it could not be read, or not to its end."""
    spool: Path

    def batches(self) -> Iterator[list[Found]]:
        """What was found in it, and the end of the file that kept it."""
        try:
            with self.spool.open("rb") as file:
                while size := int.from_bytes(file.read(4)):
                    yield _found(_decode(file.read(size)))
        finally:
            self.spool.unlink(missing_ok=True)
        if self.error is not None:
            raise self.error


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Batch).decode


def _batch(found: Iterable[Found]) -> _Batch:
    batch = _Batch(b"", [], [], [])
    order = bytearray()
    for one in found:
        if isinstance(one, Triaged):
            batch.crashes.append(one)
            order.append(0)
        elif isinstance(one, Reset):
            batch.resets.append(one)
            order.append(1)
        else:
            batch.warnings.append(one)
            order.append(2)
    batch.order = bytes(order)
    return batch


def _found(batch: _Batch) -> list[Found]:
    kinds: tuple[Iterator[Found], ...]
    kinds = (iter(batch.crashes), iter(batch.resets), iter(batch.warnings))
    return [next(kinds[kind]) for kind in batch.order]


def processors() -> int:
    """Of this machine, as far as this process may use them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worth_it(names: Sequence[str]) -> bool:
    """Whether several processes read these logs faster than one: enough bytes, only files."""
    sizes = []
    for name in names:
        try:
            status = Path(name).stat() if name != "-" else None
        except (OSError, ValueError):
            continue
        if status is None or not stat.S_ISREG(status.st_mode):
            return False
        sizes.append(status.st_size)
    # The longest alone takes as long as it takes.
    return len(sizes) > 1 and sum(sizes) - max(sizes) >= WORTH_IT // 2 and sum(sizes) >= WORTH_IT


class ReadAhead:
    """Reads logs in `jobs` processes, a few ahead of the one that is asked for.

    A context manager; at its end, also by Ctrl-C, its processes have ended and its files are gone.
    """

    def __init__(self, names: Sequence[str], jobs: int, decoder: Decoder) -> None:
        """`decoder`: a copy of it works in each process."""
        self._waiting = deque(names)
        self._jobs = jobs
        self._taken: deque[Future[Read]] = deque()
        self._broken = False
        self._folder = tempfile.TemporaryDirectory(prefix="rig-triage-")
        # A fork is ready at once, and harmless while there is one thread and no database yet;
        # a new interpreter needs half a second.
        alone = sys.platform == "linux" and len([*Path("/proc/self/task").iterdir()]) == 1
        context = multiprocessing.get_context("fork" if alone else "spawn")
        self._stop = context.Event()
        settings = (decoder, self._stop, Path(self._folder.name))
        self._pool = ProcessPoolExecutor(jobs, context, _start, settings)
        self._fill()

    def take(self) -> Read | None:
        """The next log; None when its process died: read it, and those after it, yourself."""
        try:
            self._fill()
            return self._taken.popleft().result() if not self._broken else None
        except BrokenProcessPool:
            self._broken = True
            return None

    def _fill(self) -> None:
        while not self._broken and self._waiting and len(self._taken) <= self._jobs:
            self._taken.append(self._pool.submit(_read, self._waiting.popleft()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._folder.cleanup()


# -- in the processes ----------------------------------------------------------------------------

_decoder: Decoder
_stopped: Event
_spools: Path


def _start(decoder: Decoder, stop: Event, folder: Path) -> None:
    global _decoder, _stopped, _spools
    # Ctrl-C reaches the whole group; who started this process ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _decoder, _stopped, _spools = decoder, stop, folder


class _Stopping:
    """A file that ends when nobody waits for what is in it."""

    def __init__(self, file: Readable) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        return b"" if _stopped.is_set() else self._file.read(size)


def _read(name: str) -> Read:
    handle, spool = tempfile.mkstemp(dir=_spools)
    identity, doubt, begun, error = name, None, False, None
    with os.fdopen(handle, "wb") as out:
        try:
            with Path(name).open("rb") as file:
                doubt, identity = doubtful(file.peek(BLOCK)), identity_of(file, name)
                begun = True
                for found in batches(_decoder, _Stopping(file)):
                    data = _encode(_batch(found))
                    out.write(len(data).to_bytes(4))
                    out.write(data)
        except OSError as problem:
            error = problem
    return Read(identity, doubt, begun, error, Path(spool))
