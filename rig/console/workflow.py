"""What a board prints is no command to the CI that reads our output.

GitHub's runner obeys a line that begins with `::` (after blanks: `::error::`, `::add-mask::`,
`::stop-commands::`), and its older form `##[error]` anywhere in a line (actions/runner,
`ActionCommand.TryParseV2` and `TryParse`). Under it (`GITHUB_ACTIONS`) such a line gets a blank in
between; the rig itself prints none.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Buffer
from typing import Any

_COMMAND = re.compile(r"(^[^\S\n]*:)(?=:)|(##)(?=\[)", re.MULTILINE)


def obeyed() -> bool:
    """Whether whoever reads our output obeys it."""
    return bool(os.environ.get("GITHUB_ACTIONS"))


def inert(text: str) -> str:
    """Text of which no line is a command; a carriage return ends a line there, too."""
    if "::" not in text and "##[" not in text:
        return text
    parts = re.split(r"(\r\n?|\n)", text)
    return "".join(_COMMAND.sub(r"\1\2 ", part) for part in parts)


class _InertBuffer(io.BufferedWriter):
    """What is written past the text layer: whole lines of JSON, which begin with a bracket."""

    at_once = False
    """Whether nothing is held back (PYTHONUNBUFFERED)."""

    def write(self, data: Buffer, /) -> int:
        """As a buffer's."""
        whole = bytes(data)
        super().write(whole.replace(b"##[", b"## ["))
        if self.at_once:
            self.flush()
        return len(whole)


class InertStream(io.TextIOWrapper):
    """A text stream of which no line is a command, however it is cut into writes."""

    _line = ""
    """The line so far, while it may become a command: blanks, a colon, `#`s."""

    def write(self, text: str) -> int:
        """As a text stream's."""
        begun = self._line
        whole = inert(begun + text)
        last = re.split(r"[\r\n]", begun + text)[-1]
        blank = last.lstrip() in ("", ":")
        self._line = last if blank else "#" * min(2, len(last) - len(last.rstrip("#")))
        super().write(whole[len(begun) :])
        return len(text)


def guard() -> None:
    """Make stdout and stderr inert, where they are obeyed."""
    if not obeyed():
        return
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, InertStream):
            stream.flush()
            raw: Any = getattr(stream.buffer, "raw", stream.buffer)
            buffer = _InertBuffer(raw)
            buffer.at_once = raw is stream.buffer
            inert_stream = InertStream(
                buffer,
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, inert_stream)
