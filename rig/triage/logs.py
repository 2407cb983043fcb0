"""Serial logs as files and pipes: bytes in, crash events out, in flat memory.

Most of a log is of no interest to triage. While no crash is open, a block of bytes is searched for
the needles of the crash forms at about memory speed, and only lines that hold one are read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Protocol

from rig.console.crash import CrashEvent, CrashReader
from rig.console.crash.blocks import feed_lines
from rig.console.crash.text import needles_at

BLOCK = 1 << 18
"""Bytes read at a time."""
LONGEST = 1 << 16
"""Bytes of a line that are kept; a longer one (a binary file) is cut here."""
CONTEXT = 20
DENSE = 1024
"""Above one needle in so many bytes, looking for each costs more than reading every line."""
DENSE_BLOCKS = 8
"""So many blocks after one with more needles than that are not searched for them."""

_TEXT = bytes({7, 8, 9, 10, 12, 13, 27, *range(32, 127), *range(128, 256)})
"""What a log's text is made of; the upper half too, as UTF-8 and Latin-1."""
_NOISE = 0.05
"""A serial port adds some other bytes at each reset; random bytes hold a tenth of them."""

_NBSP = "\xa0".encode()
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


class Readable(Protocol):
    """A binary file, as far as it is needed here."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at the end."""


def read_log(file: Readable, *, reader: CrashReader | None = None) -> Iterator[CrashEvent]:
    """Every crash event of a log, in the order of its text. Streams; memory does not grow.

    UTF-8 and Latin-1 are read alike, UTF-16 by its byte order mark or its zeros. Lines end
    in LF, CRLF, or CR alone; line numbers count from 1.
    """
    reader = reader or CrashReader()
    number, dense = 1, 0
    for block in _blocks(file):
        block = block.replace(_NBSP, b" ")  # web pages keep spaces that way
        marks = None if dense else needles_at(block, len(block) // DENSE + 16)
        if marks is None:
            # Crash follows crash: the next blocks are hardly any better.
            dense = dense - 1 if dense else DENSE_BLOCKS
            text = block.decode("utf-8", "replace")
            while "\r\n" in text:
                text = text.replace("\r\n", "\n")
            yield from feed_lines(reader, number, text.split("\n")[:-1])
        else:
            yield from _read_block(reader, block, number, marks)
        number += block.count(b"\n")
    yield from reader.flush()


def doubtful(start: bytes) -> str | None:
    """Why a file that begins with these bytes is hardly a log, or None. It is read all the same."""
    if not start:
        return "is empty"
    if _utf16(start) is None and len(start.translate(None, _TEXT)) > _NOISE * len(start):
        return "looks like a binary file, not like a log"
    return None


def _utf16(first: bytes) -> str | None:
    """Which UTF-16 begins so; without its mark, every other byte is zero, as no port sends it."""
    if marked := _UTF16.get(first[:2]):
        return marked
    even, odd = first[0:256:2], first[1:256:2]
    if len(odd) >= 16 and not even.count(0) and odd.count(0) > 0.9 * len(odd):
        return "utf-16-le"
    if len(odd) >= 16 and not odd.count(0) and even.count(0) > 0.9 * len(even):
        return "utf-16-be"
    return None


def _blocks(file: Readable) -> Iterator[bytes]:
    """Whole lines, many at a time, each ended by a line feed."""
    # A pipe's reader gives what is there instead of waiting for a whole block.
    read = getattr(file, "read1", file.read)
    first = read(BLOCK)
    encoding = _utf16(first)
    bare_cr = encoding is None and b"\n" not in first and first.count(b"\r") > 1
    carry = b""
    odd = b""
    skipping = False
    chunk = first
    while chunk:
        if encoding is not None:
            raw = odd + chunk
            even = len(raw) & ~1
            odd = raw[even:]
            chunk = raw[:even].decode(encoding, "replace").encode("utf-8", "replace")
        if bare_cr and b"\n" in chunk:
            bare_cr = False
        if bare_cr:
            chunk = chunk.replace(b"\r", b"\n")
        if skipping:
            _, newline, chunk = chunk.partition(b"\n")
            skipping = not newline
        data = carry + chunk if carry else chunk
        end = data.rfind(b"\n") + 1
        if end:
            yield data[:end]
        carry = data[end:]
        if len(carry) > LONGEST:
            yield carry[:LONGEST] + b"\n"
            carry, skipping = b"", True
        chunk = read(BLOCK)
    if carry:
        yield carry + b"\n"


def _read_block(
    reader: CrashReader, block: bytes, number: int, marks: list[int]
) -> Iterator[CrashEvent]:
    """The events of whole lines, of which the first has `number`; `marks` are its needles."""
    if reader.idle and not marks:
        _remember(reader, block)
        return
    at, size = 0, len(block)
    while at < size:
        if reader.idle:
            nearest = bisect_left(marks, at)
            if nearest == len(marks):
                _remember(reader, block[at:])
                return
            start = block.rfind(b"\n", at, marks[nearest]) + 1 or at
            if start > at:
                skipped = block[at:start]
                _remember(reader, skipped)
                number += skipped.count(b"\n")
                at = start
        end = block.find(b"\n", at)
        line = block[at:end] if end - at <= LONGEST else block[at : at + LONGEST]
        yield from reader.feed(number, line.decode("utf-8", "replace").rstrip("\r"))
        number += 1
        at = end + 1


def _remember(reader: CrashReader, lines: bytes) -> None:
    """Hand the reader the last lines of what was skipped."""
    at = len(lines)
    for _ in range(CONTEXT + 1):
        at = lines.rfind(b"\n", 0, at)
        if at < 0:
            break
    for line in lines[at + 1 :].splitlines()[-CONTEXT:]:
        reader.note(line[:1024].decode("utf-8", "replace"))
