"""What is done to a flash once its chip answers: write, verify, read, erase. In the worker only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esptool import cmds
from esptool.util import FatalError, NotImplementedInROMError

from firmware_flasher.esptool_log import EventLogger, Place
from firmware_flasher.memory import Memory, Span, guess, keep, span_of
from firmware_flasher.messages import (
    ChipInfo,
    Comparing,
    EraseRequest,
    Erasing,
    Event,
    InfoRequest,
    Interrupted,
    Log,
    Piece,
    Reading,
    ReadRequest,
    Request,
    Settings,
    Skipped,
    Verified,
    Verifying,
    VerifyRequest,
    WriteRequest,
)

EVERYTHING = Span(0, 1 << 27)
"""All of any flash (128 MiB, the largest that esptool knows)."""


class Refused(Exception):
    """The worker itself says no. `kind`: which of the flasher's errors it is."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(slots=True)
class State:
    """How far a request has come, over all attempts. `step` names what it is at, for the error."""

    step: str = "open"
    info: ChipInfo | None = None
    finished: dict[int, str] = field(default_factory=dict)
    """Piece -> `written`, `skipped`, `verified` or `unverified`."""
    erased: bool = False
    sent: int = 0
    """Bytes of the pieces that were written, not left alone."""


class Operations:
    """Serves requests on a chip that answers; one for all attempts of a request."""

    def __init__(self, state: State, emit: Callable[[Event], None], logger: EventLogger) -> None:
        self._state = state
        self._emit = emit
        self._logger = logger
        self._begun = False
        self._anew = False
        """The last write was interrupted: leave nothing alone."""

    def run(self, esp: Any, request: Request) -> bytes:
        """Do it; what was read. Raises `Refused`, esptool's `FatalError`, pyserial's errors."""
        match request:
            case WriteRequest():
                self._write(esp, request)
            case VerifyRequest():
                self._verify(esp, request)
            case ReadRequest():
                return self._read(esp, request)
            case EraseRequest():
                self._erase(esp, request)
            case InfoRequest():
                pass
        return b""

    # Writing

    def _write(self, esp: Any, request: WriteRequest) -> None:
        self._refuse_too_large(request.pieces, request.needs)
        self._state.step = "write"
        stand_ins = self._recall(request)
        spans = [span_of(piece) for piece in request.pieces]
        if request.erase_all and not self._state.erased:
            spans.append(EVERYTHING)
            self._begin(request, spans)
            self._erase_range(esp, 0, None)
            self._state.erased = True
        for index in range(len(request.pieces)):
            if self._state.finished.get(index) is None:
                self._state.finished[index] = self._write_piece(
                    esp, request, index, stand_ins.get(index)
                )
        if self._begun:
            states = self._state.finished
            kept = [keep(p) for n, p in enumerate(request.pieces) if states[n] != "unverified"]
            self._note(request, lambda memory, mac: memory.finish(mac, spans, kept, request.label))

    def _recall(self, request: WriteRequest) -> dict[int, bytes]:
        """What lies there as far as is known, by piece; nothing after an attempt that broke.

        Where the last write was interrupted, all of it is written anew: cells that lost their
        power while they changed may read well once, and not the next time.
        """
        if not request.memory or self._begun or self._anew:
            return {}
        known = Memory(Path(request.memory)).last(self._mac())
        spans = [span_of(piece) for piece in request.pieces]
        if any(torn.meets(span) for torn in known.torn for span in spans):
            self._anew = True
            self._emit(Interrupted(known.label, known.when))
        if not request.skip_unchanged or not request.verify or request.erase_all or self._anew:
            return {}
        guesses = {
            index: guess(known.whole, piece)
            for index, piece in enumerate(request.pieces)
            if not piece.encrypted
        }
        return {index: stand_in for index, stand_in in guesses.items() if stand_in is not None}

    def _begin(self, request: WriteRequest, spans: list[Span]) -> None:
        """The flash is about to change."""
        if not self._begun:
            self._begun = True
            self._note(request, lambda memory, mac: memory.begin(mac, spans, request.label))

    def _note(
        self, request: WriteRequest | EraseRequest, what: Callable[[Memory, str], None]
    ) -> None:
        """Keep something in mind; a folder that cannot be written to costs no flash."""
        if not request.memory:
            return
        try:
            what(Memory(Path(request.memory)), self._mac())
        except OSError as error:
            self._emit(Log(f"{request.memory}: cannot be written: {error.strerror}", "warning"))

    def _write_piece(
        self, esp: Any, request: WriteRequest, index: int, stand_in: bytes | None
    ) -> str:
        """Write one piece, verified by the chip's MD5; which of the four words it came to.

        `stand_in`: what is there, where that is known; sectors that equal it are left alone, and
        all of it is written after all where the MD5 then shows that something else was there.
        """
        piece = request.pieces[index]
        place = Place(index + 1, len(request.pieces), piece)
        wrote = verified = False
        skip = request.skip_unchanged and not self._state.erased and not self._anew
        md5sum, begin = esp.flash_md5sum, esp.flash_begin
        defl_begin = esp.flash_defl_begin

        def watched_md5sum(address: int, size: int) -> Any:
            nonlocal verified
            if wrote and not request.verify:
                raise NotImplementedInROMError(esp, md5sum)  # esptool's word for "cannot ask"
            verified = True
            self._emit((Verifying if wrote else Comparing)(*place.fields()))
            return md5sum(address, size)

        def starting(size: int) -> None:
            self._begin(request, [span_of(each) for each in request.pieces])
            self._state.sent += size

        def watched_begin(size: int, *args: Any, **kwargs: Any) -> Any:
            starting(size)
            if not esp.IS_STUB:  # the ROM erases all of the region now, the stub as it writes
                self._emit(Erasing(piece.offset, len(piece.data)))
            return begin(size, *args, **kwargs)

        def watched_defl_begin(size: int, *args: Any, **kwargs: Any) -> Any:
            starting(size)
            return defl_begin(size, *args, **kwargs)

        def progress(done: int, total: int, prefix: str) -> None:
            nonlocal wrote, verified
            wrote, verified = True, False
            self._emit(place.writing(done, total, prefix))

        self._logger.progress = progress
        esp.flash_md5sum, esp.flash_begin = watched_md5sum, watched_begin
        esp.flash_defl_begin = watched_defl_begin
        try:
            cmds.write_flash(
                esp,
                [(piece.offset, piece.data)],
                flash_freq=request.settings.freq,
                flash_mode=request.settings.mode,
                flash_size=request.settings.size,
                encrypt=piece.encrypted,
                force=request.force,
                skip_flashed=skip and stand_in is None,
                diff_with=[stand_in] if skip and stand_in is not None else [],
            )
        finally:
            self._logger.progress = None
            del esp.flash_md5sum, esp.flash_begin, esp.flash_defl_begin
        if not verified:
            return "unverified"  # an encrypted region, or secure download mode: no chip can say
        self._emit((Verified if wrote else Skipped)(*place.fields()))
        return "written" if wrote else "skipped"

    # Verifying, reading, erasing

    def _verify(self, esp: Any, request: VerifyRequest) -> None:
        self._refuse_too_large(request.pieces, request.needs)
        self._state.step = "verify"
        different = []
        for index, piece in enumerate(request.pieces):
            place = Place(index + 1, len(request.pieces), piece)
            if piece.encrypted:
                self._state.finished[index] = "unverified"
                continue
            self._emit(Verifying(*place.fields()))
            if self._holds(esp, piece, request.settings):
                self._state.finished[index] = "verified"
                self._emit(Verified(*place.fields()))
            else:
                different.append(f"{piece.name} at 0x{piece.offset:x}")
        if different:
            raise Refused("mismatch", f"the flash does not hold {', '.join(different)}")

    def _holds(self, esp: Any, piece: Piece, settings: Settings) -> bool:
        try:
            cmds.verify_flash(
                esp,
                [(piece.offset, piece.data)],
                flash_freq=settings.freq,
                flash_mode=settings.mode,
                flash_size=settings.size,
            )
        except FatalError as error:
            if "Verification failed" in str(error):
                return False
            raise
        return True

    def _read(self, esp: Any, request: ReadRequest) -> bytes:
        size = self._range(request.offset, request.size)
        self._state.step = "read"

        def progress(done: int, total: int, _prefix: str) -> None:
            self._emit(Reading(request.offset, done, total))

        self._logger.progress = progress
        try:
            data = cmds.read_flash(esp, request.offset, size)
        finally:
            self._logger.progress = None
        return bytes(data)

    def _erase(self, esp: Any, request: EraseRequest) -> None:
        whole = request.offset == 0 and request.size is None
        size = None if whole else self._range(request.offset, request.size)
        self._state.step = "erase"
        spans = [EVERYTHING if size is None else Span(request.offset, size)]
        self._note(request, lambda memory, mac: memory.begin(mac, spans, "an erase"))
        self._erase_range(esp, request.offset, size)
        self._note(request, lambda memory, mac: memory.finish(mac, spans, [], "an erase"))

    def _erase_range(self, esp: Any, offset: int, size: int | None) -> None:
        """Erase, and have the chip prove it: the MD5 of blank flash. `size` None: everything."""
        self._emit(Erasing(offset, size))
        if size is None and esp.IS_STUB:
            cmds.erase_flash(esp)
        else:
            cmds.erase_region(esp, offset, self._range(offset, size))
        if esp.secure_download_mode or (size is None and self._size() is None):
            return
        size = self._range(offset, size)
        blank = hashlib.md5(b"\xff" * size, usedforsecurity=False).hexdigest()
        if esp.flash_md5sum(offset, size) != blank:
            raise Refused("mismatch", f"0x{offset:x} to 0x{offset + size:x} is not blank now")

    # Bounds

    def _mac(self) -> str:
        return self._state.info.mac if self._state.info is not None else ""

    def _size(self) -> int | None:
        return self._state.info.flash_size if self._state.info is not None else None

    def _range(self, offset: int, size: int | None) -> int:
        """How many bytes are meant. Raises `Refused` where they are not all in the flash."""
        flash = self._size()
        if flash is None:
            if size is None:
                raise Refused("range", "the size of the flash cannot be asked: name a size")
            return size
        size = flash - offset if size is None else size
        if size <= 0 or offset + size > flash:
            raise Refused(
                "range",
                f"0x{offset:x} + 0x{size:x} bytes are not inside 0x{flash:x} bytes of flash",
            )
        return size

    def _refuse_too_large(self, pieces: list[Piece], needs: int) -> None:
        flash = self._size()
        if flash is None:
            return
        for piece in pieces:
            end = piece.offset + len(piece.data)
            if end > flash:
                raise Refused(
                    "too-large",
                    f"{piece.name} at 0x{piece.offset:x} ends at 0x{end:x}, "
                    f"but this board has 0x{flash:x} bytes of flash",
                )
        if needs > flash:
            raise Refused(
                "too-large",
                f"the partition table ends at 0x{needs:x}, "
                f"but this board has 0x{flash:x} bytes of flash",
            )
