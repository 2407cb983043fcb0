"""What a board sends, made safe to show. Imports nothing: nearly every command needs it."""

from __future__ import annotations


def printable(text: str, *, keep: str = "\t") -> str:
    """Board's text, safe for a terminal: what moves its cursor or hides is shown as an escape.

    `keep`: what stays although it is no letter; a line feed too in what has lines.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else ascii(char)[1:-1] for char in text
    )


def dotted(text: str, *, keep: str = "") -> str:
    """The same with a dot for each such character: of one column, as in a table or a drawing."""
    return "".join(c if c.isprintable() or c in keep else "\N{MIDDLE DOT}" for c in text)
