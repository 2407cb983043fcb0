"""The flasher's events for people: one live bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape

from firmware_flasher.messages import (
    ChipFound,
    Comparing,
    Connecting,
    Erasing,
    Event,
    Interrupted,
    Log,
    Reading,
    Resetting,
    Retrying,
    Skipped,
    StubRunning,
    Verified,
    Verifying,
    Writing,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_STEP = 0.25
"""In a pipe, a line each quarter of a region."""


def line_of(event: Event) -> str | None:
    """What a person reads for an event, None where a bar says it better."""
    match event:
        case Connecting(attempt=attempt, baud=baud):
            again = f", attempt {attempt}" if attempt > 1 else ""
            return f"connecting at {baud} baud{again}"
        case ChipFound(info=info):
            known = f", MAC {info.mac}" if info.mac else ""
            stub = ", a stub was left running" if info.stub_was_running else ""
            return f"found {info.description}{known}{stub}"
        case StubRunning(baud=baud):
            return f"stub loader runs, {baud} baud"
        case Interrupted(label=label, when=when):
            began = time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
            return f"{label or 'a flash'}, begun {began}, was interrupted: all is written anew"
        case Erasing(size=None):
            return "erasing all of the flash"
        case Erasing(offset=offset, size=size):
            return f"erasing 0x{size:x} bytes at 0x{offset:x}"
        case Skipped():
            return f"{_place(event)} unchanged, left alone"
        case Verified():
            return f"{_place(event)} verified"
        case Retrying(reason=reason, baud=baud):
            return f"{reason} Once more at {baud} baud"
        case Resetting(download=download, cold=cold):
            how = "switching off and on, then " if cold else ""
            return f"{how}resetting into download mode" if download else f"{how}resetting"
        case Log(text=text):
            return f"esptool: {text}"
    return None


def _place(event: Writing | Comparing | Skipped | Verifying | Verified) -> str:
    return f"[{event.region}/{event.regions}] {event.name} at 0x{event.offset:x}:"


def progress_bars(console: Console) -> Progress | None:
    """Bars on a terminal, None in a pipe. `Display` makes its own where it is given none."""
    if not console.is_terminal:
        return None
    from rich.progress import (  # a tenth of a flash's start, and nothing to show in a pipe
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class Display:
    """Shows events on a console; a context manager. Call it with each event."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        """`verbose`: esptool's own words as well."""
        self._console = console
        self._verbose = verbose
        self._bars = progress_bars(console)
        self._task: TaskID | None = None
        self._at = ""
        self._told = 0.0

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Log) and not (self._verbose or event.level in ("warning", "error")):
            return
        if isinstance(event, Writing):
            self._moved(f"{_place(event)} writing", event.done, event.size)
        elif isinstance(event, Comparing):
            self._moved(f"{_place(event)} comparing", 0, event.size, plain=False)
        elif isinstance(event, Verifying):
            self._moved(f"{_place(event)} verifying", event.size, event.size, plain=False)
        elif isinstance(event, Reading):
            self._moved(f"reading from 0x{event.offset:x}", event.done, event.size)
        elif (line := line_of(event)) is not None:
            style = "dim" if isinstance(event, Log) else None
            self._console.print(escape(line), style=style)

    def _moved(self, what: str, done: int, size: int, *, plain: bool = True) -> None:
        began = what != self._at
        if began:
            self._at, self._told = what, 0.0
        if self._bars is not None:
            self._advance(self._bars, what, done, size, began=began)
            return
        share = done / size if size else 1.0
        if plain and share >= min(self._told + PLAIN_STEP, 1.0) > self._told:
            self._told = share
            self._console.print(escape(f"{what} {done} of {size} bytes"))

    def _advance(self, bars: Progress, what: str, done: int, size: int, *, began: bool) -> None:
        if began or self._task is None:
            if self._task is not None:
                bars.remove_task(self._task)
            self._task = bars.add_task(escape(what), total=size)
        bars.update(self._task, completed=done, total=size)


class Bar:
    """One board's bar among several, from connecting to its end; call it with each event.

    Only what is out of the ordinary is said in a line of its own, under the board's name.
    """

    def __init__(self, console: Console, bars: Progress | None, label: str, size: int) -> None:
        """`bars`: the `progress_bars` that the boards share. `size`: bytes of the bundle."""
        self._console = console
        self._bars = bars
        self._label = label
        self._size = size
        self._task = bars.add_task(escape(f"{label}: waiting"), total=size) if bars else None
        self._before = 0  # bytes of the regions that are done
        self._region = 0

    def say(self, what: str, *, done: bool = False) -> None:
        """What the board is at; `done`: its bar is full."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=escape(f"{self._label}: {what}"))
        if done:
            self._move(self._size)

    def _move(self, written: int) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=written)

    def __call__(self, event: Event) -> None:
        match event:
            case Connecting():
                self.say("connecting")
            case ChipFound(info=info):
                self.say(f"found {info.description}")
            case Writing() | Comparing() | Verifying():
                doing = type(event).__name__.lower()
                self.say(f"{doing} {event.name}, {event.region} of {event.regions}")
                if isinstance(event, Writing):
                    self._move(self._before + event.done)
            case Verified() | Skipped():
                self._advance(event.region, event.size)
            case Erasing(size=None):
                self.say("erasing")
            case Retrying() | Interrupted():
                self._console.print(escape(f"{self._label}: {line_of(event)}"))
            case Log(level=level) if level in ("warning", "error"):
                self._console.print(escape(f"{self._label}: {line_of(event)}"), style="dim")
            case _:
                pass

    def _advance(self, region: int, size: int) -> None:
        if region > self._region:  # once each, also where an attempt broke in between
            self._region = region
            self._before += size
            self._move(self._before)
