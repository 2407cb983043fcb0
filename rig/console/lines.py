"""Bytes of a serial port -> lines of text, in bounded memory. Sans-I/O.

What a UART carries is not quite a text file: lines end in CR LF, LF or CR CR LF, a line may be torn
by a reset, padded with NULs, full of noise, or never end at all.
"""

from __future__ import annotations

from itertools import accumulate, count
from operator import add

MAX_LINE = 4096
"""Longest piece of a line, in bytes. A longer line comes in pieces that share its number."""

Line = tuple[int, int, str]
"""(number, offset, text). `number` is 1 + the line feeds before it, as in an editor; `offset`
counts bytes from the start of the log; `text` is without line end and NULs, noise is U+FFFD.

A plain tuple: the parser makes 300,000 a second and more of them.
"""


class LineSplitter:
    """Splits a byte stream into lines. The way the stream is cut into chunks changes nothing.

    A lone CR starts a new piece with the same number (progress bars), and so does every
    `MAX_LINE` bytes. Of a line that came in pieces, the empty ones are dropped.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._offset = 0
        self._number = 1
        self._continued = False
        self.block = b""
        """All bytes that the lines last given out were made of, and perhaps more."""

    @property
    def pending(self) -> bool:
        """Whether bytes without a line end are held back; never more than `MAX_LINE`."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Line]:
        """The lines that `data` completes."""
        self.block = block = self._rest + data if self._rest else data
        end = block.rfind(b"\n") + 1
        lines: list[Line] = []
        if end:
            body = block[:end]
            if self._continued or b"\0" in body or not self._bulk(body, lines):
                for raw in body[:-1].split(b"\n"):
                    self._end(self._cut(raw, lines), lines)
        self._rest = block[end:]
        if len(self._rest) > MAX_LINE:
            self._rest = self._cut(self._rest, lines)
        return lines

    def _bulk(self, body: bytes, lines: list[Line]) -> bool:
        """Give out whole lines, all at once; False: one of them needs a closer look."""
        ends, crlf = body.count(b"\n"), body.count(b"\r\n")
        if body.count(b"\r") != crlf:
            return False
        if body.isascii() and crlf in (0, ends):
            mark = "\r\n" if crlf else "\n"
            texts = body.decode("ascii").split(mark)
            texts.pop()
            lengths, step = list(map(len, texts)), len(mark)
        else:
            # UTF-8 decoding with replacement never swallows a line feed: as many texts as lines.
            texts = body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
            texts.pop()
            lengths, step = list(map(len, body[:-1].split(b"\n"))), 1
        if max(lengths) + step > MAX_LINE:
            return False
        offsets = map(add, accumulate(lengths, initial=self._offset), count(step=step))
        lines.extend(zip(count(self._number), offsets, texts, strict=False))
        self._number += ends
        self._offset += len(body)
        return True

    def flush(self) -> list[Line]:
        """Give out what is held back; what follows before the next line feed shares its number."""
        lines: list[Line] = []
        self.block = self._rest
        if self._rest:
            self._pieces(self._rest, lines)
            self._offset += len(self._rest)
            self._rest = b""
            self._continued = True
        return lines

    def _cut(self, raw: bytes, lines: list[Line]) -> bytes:
        """Give out full pieces of an overlong line; return the rest, at most `MAX_LINE` bytes."""
        start = 0
        while len(raw) - start > MAX_LINE:
            self._continued = True
            self._pieces(raw[start : start + MAX_LINE], lines)
            self._offset += MAX_LINE
            start += MAX_LINE
        return raw[start:]

    def _end(self, raw: bytes, lines: list[Line]) -> None:
        """Give out the last piece of a line and step to the next one."""
        self._pieces(raw, lines)
        self._offset += len(raw) + 1
        self._number += 1
        self._continued = False

    def _pieces(self, raw: bytes, lines: list[Line]) -> None:
        offset = self._offset
        found = False
        for piece in raw.split(b"\r"):
            text = piece.decode("utf-8", "replace").replace("\0", "")
            if text:
                found = True
                lines.append((self._number, offset, text))
            offset += len(piece) + 1
        if not found and not self._continued:
            lines.append((self._number, self._offset, ""))
