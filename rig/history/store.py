"""The append-only history on disk: one JSON object a line, each written with one system call.

A `kill -9` of the writer loses at most the line it was writing: nothing is held back in user
space. Memory is constant: the store keeps no events, only its watchers' bounded queues.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from rig.errors import HistoryError
from rig.history.events import EVENT_TYPES, Entry, Event, RunEnded, ScenarioEnded, Unknown
from rig.history.room import Room

LONGEST = 1 << 24
"""Bytes of a line that are read at most; no event comes near it."""
_T_BOUND = 1 << 63
"""Nanoseconds no clock reads; arithmetic on a number of a thousand digits would not end well."""

Predicate = Callable[[Event], bool]
Listener = Callable[[Entry], None]

_HEAD = re.compile(rb'\{"n":(\d{1,18}),"event":"(\w{1,64})",')
"""How `encode` begins a line; a tool that spaces its JSON does not."""
_STRIDE = 1000
"""Lines between two places in a file that are remembered."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, object])


@cache
def _typed(cls: type[Event]) -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(cls)


def encode(entry: Entry) -> bytes:
    """One line of the file: `{"n":1,"event":"boot","t":...,...}` and a newline."""
    event = entry.event
    try:
        body = _encoder.encode(event)
    except UnicodeEncodeError:  # a file name that is not UTF-8, in Python's surrogates
        body = _encoder.encode(_printable(msgspec.to_builtins(event)))
    head = f'{{"n":{entry.n},"event":"{event.tag}",'.encode()
    return head + body[1:] + b"\n"


def _printable(value: object) -> object:
    """The same with `?` for what UTF-8 cannot say."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_printable(key): _printable(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_printable(inner) for inner in value]
        case _:
            return value


def decode(line: bytes) -> Entry:
    """Read one line back. Raises `ValueError` for what is no event of a history."""
    return _decode(line, _HEAD.match(line))


def _decode(line: bytes, head: re.Match[bytes] | None) -> Entry:
    if head is not None and (cls := EVENT_TYPES.get(head[2].decode())) is not None:
        return Entry(int(head[1]), _typed(cls).decode(line))
    fields = _decoder.decode(line)
    n = fields.pop("n", None)
    tag = fields.pop("event", None)
    if not isinstance(n, int) or not isinstance(tag, str):
        raise ValueError("no event number or no event name")
    cls = EVENT_TYPES.get(tag)
    if cls is None:
        t = fields.pop("t", 0)
        return Entry(n, Unknown(t=t if isinstance(t, int) else 0, kind=tag, fields=fields))
    return Entry(n, msgspec.convert(fields, cls))


class Watch:
    """Events that arrived since it was opened, in order; awaited with deadlines.

    Open it *before* the action whose effect is awaited, so that nothing falls between. It keeps
    the newest `bound` events that match `only`.
    """

    def __init__(self, store: HistoryStore, only: Predicate | None, bound: int) -> None:
        self._store = store
        self._only = only
        self._queue: deque[Entry] = deque(maxlen=bound)
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def _arrived(self, entry: Entry) -> None:
        if self._only is not None and not self._only(entry.event):
            return
        self._queue.append(entry)
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._wake.set()
        else:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def next[E: Event](
        self, kind: type[E], *, timeout: float, where: Callable[[E], bool] | None = None
    ) -> tuple[int, E] | None:
        """The next event of `kind` that satisfies `where`: (number, event), None after `timeout` s.

        Events before it are consumed.
        """
        deadline = self._loop.time() + timeout
        while True:
            while self._queue:
                entry = self._queue.popleft()
                if isinstance(entry.event, kind) and (where is None or where(entry.event)):
                    return entry.n, entry.event
            self._wake.clear()
            left = deadline - self._loop.time()
            if left <= 0:
                return None
            try:
                await asyncio.wait_for(self._wake.wait(), left)
            except TimeoutError:
                return None

    def __enter__(self) -> Self:
        self._store.listen(self._arrived)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._store.unlisten(self._arrived)


class HistoryStore:
    """Writes a history file. Thread-safe; a context manager.

    Raises `HistoryError` when the file cannot be made or written. One that could not be written
    once takes nothing more but how the run ended: a history has no holes.
    """

    def __init__(self, path: Path, *, room: Room | None = None) -> None:
        """`room`: watches that the disk does not fill up."""
        self.path = path
        self.on_broken: Callable[[], object] = lambda: None
        """Called once, in the thread that appends, when it cannot be written any more."""
        self.broken: HistoryError | None = None
        self._given_up = False
        self._room = room
        self._n = 0
        self._size = 0
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError as error:
            if not path.parent.is_dir():
                raise HistoryError(
                    f"cannot write the history {path}: {path.parent} is a file",
                    hint="choose a folder that you may write to with --out",
                ) from error
            raise HistoryError(
                f"{path} exists already: a history is never overwritten",
                hint="choose another --out, or move the old run away",
            ) from error
        except OSError as error:
            raise HistoryError(
                f"cannot write the history {path}: {error.strerror}",
                hint="choose a folder that you may write to with --out",
            ) from error

    def append(self, event: Event) -> int:
        """Write `event` and return its number (1-based; 0: given up)."""
        with self._lock:
            if self._fd < 0:
                raise HistoryError(f"the history {self.path} is closed")
            last = isinstance(event, RunEnded | ScenarioEnded)
            if self.broken is not None and not last:
                if self._given_up:
                    return 0
                raise self.broken
            entry = Entry(self._n + 1, event)
            try:
                line = encode(entry)
                if self._room is not None and not last:
                    self._room.take(len(line))
                self._write(line)
            except HistoryError as error:
                if self._given_up:
                    return 0
                if self.broken is None:
                    self.broken = error
                    self.on_broken()
                raise
            self._n += 1
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(entry)
        return entry.n

    def give_up(self) -> None:
        """If it is broken: refuse silently from now on, so that those who tidy up can."""
        self._given_up = self.broken is not None

    def _write(self, line: bytes) -> None:
        """Write a whole line or none of it: half of one would spoil the lines after it."""
        rest = line
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            raise HistoryError(
                f"cannot write the history {self.path}: {error.strerror}",
                hint="free some space; what was written so far stays readable",
            ) from error
        self._size += len(line)

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every later entry, in the thread that appends it."""
        with self._lock:
            self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        with self._lock:
            self._listeners.remove(listener)

    def watch(self, only: Predicate | None = None, *, bound: int = 10_000) -> Watch:
        """A `Watch` on what comes next; use it as a context manager around the action."""
        return Watch(self, only, bound)

    def __len__(self) -> int:
        return self._n

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


class History:
    """A history on disk, read lazily and as often as wanted, in constant memory.

    A torn last line (the writer was killed in it) ends the iteration and sets `torn`. Any other
    unreadable line raises `HistoryError` with its number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = False
        self._places = array("Q", [0])
        """Where lines 1, 1001, 2001, ... begin, as far as it was read: a check reads its part."""

    def __iter__(self) -> Iterator[Entry]:
        return self.entries()

    def only(self, *kinds: type[Event]) -> Iterator[Entry]:
        """The entries of these kinds; the others are skipped without decoding them."""
        return self.entries(frozenset(kind.tag for kind in kinds))

    def entries(
        self, tags: frozenset[str] | None = None, *, first: int = 1, last: int | None = None
    ) -> Iterator[Entry]:
        """Entries number `first` to `last` (both included), only those with one of `tags`."""
        self.torn = False
        wanted = None if tags is None else frozenset(tag.encode() for tag in tags)
        if self.path.exists() and not self.path.is_file():
            # A pipe would be waited for, and no second reading of it finds anything.
            raise HistoryError(
                f"cannot read the history {self.path}: it is no regular file",
                hint="name the folder of a run, or the history.jsonl in it",
            )
        try:
            with self.path.open("rb") as file:
                place = min(max(first - 1, 0) // _STRIDE, len(self._places) - 1)
                file.seek(self._places[place])
                lines = iter(partial(file.readline, LONGEST), b"")
                for number, line in enumerate(lines, place * _STRIDE + 1):
                    if not line.endswith(b"\n") and len(line) < LONGEST:
                        self.torn = True
                        return
                    if number == len(self._places) * _STRIDE:
                        self._places.append(file.tell())
                    if last is not None and number > last:
                        return
                    if number < first:
                        continue
                    head = _HEAD.match(line)
                    if wanted is not None and head is not None and head[2] not in wanted:
                        continue
                    try:
                        entry = _decode(line, head)
                        if abs(entry.event.t) >= _T_BOUND:
                            raise ValueError("its time is beyond 64 bits")
                    except (ValueError, msgspec.DecodeError, RecursionError) as error:
                        raise HistoryError(
                            f"{self.path}:{number} is no history event: {error}",
                            hint=f"the lines before it are sound: head -n {number - 1} keeps them",
                        ) from error
                    # Whoever wrote the line in another way (a tool that spaces its JSON) is
                    # understood, too: nothing that happened is passed over.
                    if tags is None or entry.event.tag in tags:
                        yield entry
        except OSError as error:
            raise HistoryError(
                f"cannot read the history {self.path}: {error.strerror}",
                hint="name the folder of a run, or the history.jsonl in it",
            ) from error
