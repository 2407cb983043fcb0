"""A rich console for reports: what a board, a log or a history says is shown, never obeyed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment


class Screen(Console):
    """A console whose colours are its own.

    rich strips a bell or a carriage return from text, but lets an escape sequence, the C1
    controls (U+009B begins one, too) and the bidirectional overrides pass to the terminal.
    Markup in untrusted text is still its caller's to escape.
    """

    def __init__(self, **settings: Any) -> None:
        """`settings`: rich's own; nothing is highlighted, no `:word:` a picture."""
        super().__init__(highlight=False, emoji=False, **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's, without what a terminal would obey in any text."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield Segment(dotted(segment.text), segment.style)


def dotted(text: str) -> str:
    """Text with a dot for each character that a terminal would obey; line feeds stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{MIDDLE DOT}" for c in text)
