"""A triage of logs: read, decode, sign, remember; a stream of what was found."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from rig.console.crash import Finished, Reset, Warned
from rig.errors import RigError
from rig.triage.buckets import Remembered
from rig.triage.decode import DecodedCrash, Decoder
from rig.triage.identity import log_identity
from rig.triage.logs import Readable, read_log
from rig.triage.memory import Memory
from rig.triage.signature import signature

TOGETHER = 256
"""So many crashes are stored in one transaction."""


@dataclass(frozen=True, slots=True)
class Triaged:
    """A crash of a log: decoded, signed, and what memory says of it."""

    crash: DecodedCrash
    signature: str
    remembered: Remembered | None = None
    """None where nothing is remembered."""


Found = Triaged | Reset | Warned


def identity_of(file: Readable, name: str) -> str:
    """What a log is known by: the beginning of its text, or its name where that cannot be seen."""
    peek = getattr(file, "peek", None)
    return log_identity(peek(4096)) if peek is not None else name


def batches(decoder: Decoder, file: Readable, *, live: bool = False) -> Iterator[list[Found]]:
    """What is found in a log, decoded and signed, many at a time; one at a time if `live`."""
    held: list[Found] = []
    for event in read_log(file):
        if isinstance(event, Finished):
            crash = decoder.decode(event.record)
            held.append(Triaged(crash, signature(crash)))
        elif isinstance(event, (Reset, Warned)):
            held.append(event)
        if live or len(held) >= TOGETHER:
            yield held
            held = []
    yield held


class Session:
    """Triages one log after another with the same ELF files and the same memory."""

    def __init__(self, decoder: Decoder, memory: Memory | None = None) -> None:
        self.decoder = decoder
        self.memory = memory
        self.trouble: RigError | None = None
        """Why nothing is remembered any more, once memory has failed."""

    def triage(self, file: BinaryIO, name: str, *, live: bool = False) -> Iterator[Found]:
        """What is found in a log, in its order. Memory stays flat however long the log is.

        `name` is how people know the log. `live` tells each crash at once, where one batch after
        another would be faster.
        """
        buffered = io.BufferedReader(file, 1 << 16) if isinstance(file, io.RawIOBase) else file
        identity = identity_of(buffered, name)
        for held in batches(self.decoder, buffered, live=live):
            yield from self.stored(held, name, identity)

    def stored(self, held: list[Found], name: str, identity: str) -> list[Found]:
        """The same, with what memory says of each crash. `identity` is `identity_of` the log."""
        if self.memory is None or not any(isinstance(found, Triaged) for found in held):
            return held
        told: list[Found] = []
        try:
            with self.memory.together():
                for found in held:
                    if isinstance(found, Triaged):
                        known = self.memory.remember(
                            found.crash, source=name, log=identity, name=found.signature
                        )
                        told.append(Triaged(found.crash, found.signature, known))
                    else:
                        told.append(found)
        except RigError as error:
            self.trouble, self.memory = error, None
            return held
        return told
