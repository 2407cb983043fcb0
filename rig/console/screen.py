"""A rich console for reports: what a board, a log or a history says is shown, never obeyed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from rig.console.printable import dotted

WHOLE_LINES = 10_000
"""Columns of what has no window: wider than any line that is printed."""


class Screen(Console):
    """A console whose colours are its own.

    rich strips a bell or a carriage return from text, but lets an escape sequence, the C1
    controls (U+009B begins one, too) and the bidirectional overrides pass to the terminal.
    Markup in untrusted text is still its caller's to escape.
    """

    def __init__(self, **settings: Any) -> None:
        """`settings`: rich's own; nothing is highlighted, no `:word:` a picture."""
        super().__init__(highlight=False, emoji=False, **settings)

    def on_broken_pipe(self) -> None:
        """Leave it to the command line: rich would exit with 1, which here means a failed check."""
        self.quiet = True
        raise BrokenPipeError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's, without what a terminal would obey in any text.

        Down a pipe also without the blanks that pad a table's last column.
        """
        segments = _harmless(super().render(renderable, options))
        return segments if self.is_terminal else _unpadded(segments)


def report_console(*, stderr: bool = False, soft_wrap: bool = False) -> Screen:
    """Where a report goes: folded to a terminal's width, whole lines down a pipe.

    `soft_wrap`: the terminal itself folds what is no table.
    """
    console = Screen(stderr=stderr, soft_wrap=soft_wrap)
    if not console.is_terminal:
        console.width = WHOLE_LINES
    return console


def _harmless(segments: Iterable[Segment]) -> Iterator[Segment]:
    for segment in segments:
        if segment.control or segment.text.isprintable() or segment.text == "\n":
            yield segment
        else:
            yield Segment(dotted(segment.text, keep="\n"), segment.style)


def _unpadded(segments: Iterable[Segment]) -> Iterator[Segment]:
    blanks: list[Segment] = []  # they may turn out to end their line
    for segment in segments:
        text = segment.text.rstrip(" ")
        if segment.text == "\n":
            blanks.clear()
        elif text or segment.control:
            yield from blanks
            blanks.clear()
        if text or segment.control:
            yield Segment(text, segment.style, segment.control)
        if len(text) < len(segment.text):
            blanks.append(Segment(segment.text[len(text) :], segment.style))
    yield from blanks
