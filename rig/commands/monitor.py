"""`rig monitor BOARD`: a board's serial log, live, crashes decoded in place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import click

from rig.boards import open_board
from rig.boards.base import console_asserted
from rig.boards.bench import find_bench
from rig.boards.download_mode import waits_for_loader
from rig.commands.options import bench_option, board_argument
from rig.console.capture import Capture
from rig.console.printable import printable
from rig.console.view import Filter, View
from rig.errors import BenchError, BoardError, HistoryError, RigError
from rig.history import Event
from rig.history.events import Boot, Crash
from rig.triage.decode import Decoder, decode_record

LEAVE = b"\x1d"
"""Ctrl-], as in telnet and in ESP-IDF's own monitor."""

EPILOG = """\b
Examples:
  rig monitor virtual                             Ctrl-] leaves
  rig monitor kitchen --filter wifi:W --filter '*:I'
  rig monitor socket://10.0.0.7:5000 --log kitchen.log
  rig monitor virtual | grep sendspin             in a pipe: plain text, Ctrl-C leaves

\b
BOARD is a name of the bench file, `virtual`, or a console itself: a device path, a
growing file, socket://HOST:PORT, rfc2217://HOST:PORT. The board is not reset.
What is typed goes to the board.
"""


@click.command(name="monitor", epilog=EPILOG)
@board_argument
@bench_option
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="TAG:LEVEL",
    help="Show only these log records, up to this level (N E W I D V); '*' is every other tag.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Add every byte that comes to FILE, whatever is shown.",
)
@click.option(
    "--elf",
    "elfs",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Decode crashes with this ELF file (besides those of `rig symbols`).",
)
@click.option("--baud", type=click.IntRange(300, 8_000_000), help="Baud rate.  [default: bench's]")
@click.option("--no-color", "--no-colour", is_flag=True, help="No colours (as NO_COLOR=1).")
def command(
    board: str,
    bench: Path | None,
    filters: tuple[str, ...],
    log: Path | None,
    elfs: tuple[Path, ...],
    baud: int | None,
    no_color: bool,
) -> None:
    """Show BOARD's serial log, live, and decode its crashes in place."""
    only = Filter.parse(filters)
    colour = not no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty()
    printer = _Printer(View(only, colour=colour), Decoder(elfs))
    with _raw_log(log) as keep:
        asyncio.run(_monitor(board, bench, baud, printer, keep))


async def _monitor(
    name: str,
    bench: Path | None,
    baud: int | None,
    printer: _Printer,
    keep: Callable[[bytes], object] | None,
) -> None:
    async with _console_of(name, bench) as (url, usual, asserted):
        capture = Capture(name, url, printer, baud=baud or usual, asserted=asserted)
        capture.on_bytes = keep
        async with capture:
            _say(f"-- {name} on {url}; {'Ctrl-]' if sys.stdin.isatty() else 'Ctrl-C'} leaves")
            left = asyncio.Event()
            with _typing(capture, left), _on_sigterm(left):
                leaving = asyncio.ensure_future(left.wait())
                failing = asyncio.ensure_future(capture.failed())
                printing = asyncio.ensure_future(printer.failed)
                await asyncio.wait(
                    (leaving, failing, printing), return_when=asyncio.FIRST_COMPLETED
                )
                await printer.finish()
                for task in (leaving, failing, printing):
                    if not task.cancel() and task.exception() is not None:
                        await task


@contextlib.asynccontextmanager
async def _console_of(name: str, bench: Path | None) -> AsyncIterator[tuple[str, int, bool]]:
    """The console's URL, baud rate and lines (asserted), of a board or given as it is."""
    if "://" in name or "/" in name:
        yield name, 115_200, True
        return
    async with open_board(name, find_bench(bench)) as board:
        if board.console_url is None:
            raise BenchError(
                f"the board '{name}' has no console",
                hint="name one as `console` in its bench table",
            )
        yield board.console_url, board.console_baud, console_asserted(board)


class _Printer:
    """The sink: prints each event at once, and keeps the first error of stdout.

    A crash is decoded in a thread (an ELF's index, a core dump or GDB take seconds, and a port's
    buffer does not hold that much); what comes meanwhile waits, so that the order stays.
    """

    def __init__(self, view: View, decoder: Decoder) -> None:
        self._view = view
        self._decoder = decoder
        self._failed: asyncio.Future[None] | None = None
        self._waiting: deque[list[str] | Crash] = deque()
        self._decoding: asyncio.Future[list[str]] | None = None

    @property
    def failed(self) -> asyncio.Future[None]:
        """Done when nobody reads our output any more."""
        if self._failed is None:
            self._failed = asyncio.get_running_loop().create_future()
        return self._failed

    def __call__(self, event: Event) -> None:
        if lines := self._view.lines(event):
            self._waiting.append(lines)
        if isinstance(event, Boot) and waits_for_loader(event):
            hint = "it waits in download mode and runs no firmware; `rig reset` boots it"
            self._waiting.append([f"-- {hint}"])
        if isinstance(event, Crash):
            self._waiting.append(event)
        if self._decoding is None:
            self._go_on()

    def _go_on(self) -> None:
        """Print what waits, up to the next crash."""
        while self._waiting:
            item = self._waiting.popleft()
            if isinstance(item, Crash):
                loop = asyncio.get_running_loop()
                self._decoding = loop.run_in_executor(None, self._decoded, item)
                self._decoding.add_done_callback(self._told)
                return
            self._print(item)

    def _told(self, decoding: asyncio.Future[list[str]]) -> None:
        self._decoding = None
        if not decoding.cancelled():
            self._print(decoding.result())
            self._go_on()

    async def finish(self) -> None:
        """Print what still waits."""
        while self._decoding is not None:
            await asyncio.wait([self._decoding])

    def _print(self, lines: list[str]) -> None:
        if not lines or self.failed.done():
            return
        try:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
        except BrokenPipeError as error:
            self.failed.set_exception(error)

    def _decoded(self, crash: Crash) -> list[str]:
        try:
            decoded = decode_record(crash.record, self._decoder)
        except RigError as error:
            return [f"--   not decoded: {printable(error.message)}"]
        known = decoded.frames if decoded.decoded else ()
        tasks = [task for task in decoded.tasks if not task.crashed]
        return [
            *(f"--   {printable(str(frame))}" for frame in known),
            *(
                f"--   task {printable(task.name or task.handle)}: {printable(str(frame))}"
                for task in tasks
                for frame in task.frames[:1]
            ),
            *(f"--   {printable(note)}" for note in decoded.notes),
        ]


@contextlib.contextmanager
def _raw_log(path: Path | None) -> Iterator[Callable[[bytes], object] | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise BenchError(
            f"cannot write the log {path}: {error.strerror}",
            hint="name a file that you may write to with --log",
        ) from error

    def keep(data: bytes) -> None:
        try:
            while data:
                data = data[file.write(data) :]
        except OSError as error:
            raise HistoryError(
                f"cannot write the log {path}: {error.strerror}", hint="free some space"
            ) from error

    with file:
        yield keep


@contextlib.contextmanager
def _typing(capture: Capture, left: asyncio.Event) -> Iterator[None]:
    """Keys of a terminal go to the board as they are, unechoed; Ctrl-] leaves, Ctrl-C too.

    What is not a terminal is not read.
    """
    if not sys.stdin.isatty():
        yield
        return
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    waiting: set[asyncio.Task[None]] = set()

    async def send(keys: bytes) -> None:
        try:
            await capture.write(keys)
        except BoardError as error:
            _say(f"-- {error.message}")

    def typed() -> None:
        keys = os.read(descriptor, 1024)
        if not keys or LEAVE in keys:
            loop.remove_reader(descriptor)
            left.set()
            return
        task = asyncio.ensure_future(send(keys))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, typed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        for task in waiting:
            task.cancel()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _on_sigterm(left: asyncio.Event) -> Iterator[None]:
    """Leave in order, with the terminal as it was, when we are asked to end."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, left.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _say(text: str) -> None:
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()
