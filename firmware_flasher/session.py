"""One request against one board, by esptool's library calls. Runs in the worker process only."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import serial
from esptool import cmds
from esptool.logger import log
from esptool.util import FatalError, NotImplementedInROMError, flash_size_bytes

from firmware_flasher.chips import CHIPS, chip_name
from firmware_flasher.esptool_log import EventLogger, Place
from firmware_flasher.messages import (
    ChipFound,
    ChipInfo,
    Comparing,
    Connecting,
    Done,
    EraseRequest,
    Erasing,
    Event,
    InfoRequest,
    Link,
    Piece,
    Reading,
    ReadRequest,
    Request,
    Resetting,
    Retrying,
    Settings,
    Skipped,
    StubRunning,
    Verified,
    Verifying,
    VerifyRequest,
    WriteRequest,
)
from firmware_flasher.noise import is_noise, is_vanished

ROM_BAUD = 115_200
"""The rate to synchronise at; the ROM finds it by itself (esptool, `ESP_ROM_BAUD`)."""

MAX_ATTEMPTS = 4
_GARBLED = (struct.error, IndexError, ValueError, KeyError)
"""What esptool raises where an answer is too short or too odd for it."""


class Refused(Exception):
    """The worker itself says no. `kind`: which of the flasher's errors it is."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class AskReset(Protocol):
    """Has the board's owner reset it; returns when it is done."""

    def __call__(self, *, download: bool) -> None: ...


class Session:
    """Serves one request. `step` names what it is at, for the error."""

    def __init__(self, emit: Callable[[Event], None], ask_reset: AskReset) -> None:
        self.step = "open"
        self._emit = emit
        self._ask_reset = ask_reset
        self._logger = EventLogger(emit)
        self._info: ChipInfo | None = None
        self._baud = ROM_BAUD
        self._finished: dict[int, str] = {}  # piece -> "written", "skipped" or "verified"
        self._erased = False

    def serve(self, request: Request) -> Done:
        """Do it, at a lower rate where frames break; at most `MAX_ATTEMPTS` times.

        Raises `Refused`, esptool's `FatalError`, pyserial's and termios' errors.
        """
        log.set_logger(self._logger)
        link = request.link
        for attempt in range(1, MAX_ATTEMPTS + 1):
            baud = link.bauds[min(attempt, len(link.bauds)) - 1]
            try:
                data = self._attempt(request, attempt, baud)
            except FatalError as error:
                reason = str(error).partition("\n")[0]
                last = attempt == MAX_ATTEMPTS or self.step in ("open", "connect")
                if last or not is_noise(reason) or is_vanished(reason, None):
                    raise
                following = link.bauds[min(attempt + 1, len(link.bauds)) - 1]
                self._emit(Retrying(attempt, reason, following))
            else:
                return self._done(data, attempt - 1)
        raise AssertionError("the last attempt returns or raises")

    def _done(self, data: bytes, retries: int) -> Done:
        states = list(self._finished.values())
        return Done(
            info=self._info,
            data=data,
            written=states.count("written") + states.count("unverified"),
            skipped=states.count("skipped"),
            verified=len(states) - states.count("unverified"),
            retries=retries,
            baud=self._baud,
        )

    def _attempt(self, request: Request, attempt: int, baud: int) -> bytes:
        link = request.link
        esp = self._connect(link, attempt)
        try:
            force = isinstance(request, WriteRequest | VerifyRequest) and request.force
            self._refuse_other_chip(esp, request.chip, force=force)
            esp = self._prepare(esp, link, baud)
            data = self._run(esp, request)
            if not link.owner_resets:
                self.step = "reset"
                cmds.reset_chip(esp, link.after)
            return data
        except _GARBLED as error:
            raise FatalError(f"Response doesn't match request: {error!r}") from error
        finally:
            esp._port.close()

    # Connecting

    def _connect(self, link: Link, attempt: int) -> Any:
        """The chip, synchronised; also a stub that an interrupted flasher left at its own rate."""
        rates = [ROM_BAUD]
        if link.before == "no-reset":
            rates += [rate for rate in dict.fromkeys(link.bauds) if rate != ROM_BAUD]
        if link.owner_resets:
            self._emit(Resetting(download=True))
            self._ask_reset(download=True)
        first: FatalError | None = None
        for rate in rates:
            self._emit(Connecting(attempt, rate))
            self.step = "open"
            port = self._open(link.url)
            self.step = "connect"
            tries = link.connect_attempts if rate == ROM_BAUD else 1
            try:
                esp = cmds.detect_chip(port, rate, link.before, False, tries)
            except FatalError as error:
                port.close()
                first = first or error
            except _GARBLED as error:
                port.close()
                first = first or FatalError(f"Response doesn't match request: {error!r}")
            else:
                esp.WRITE_FLASH_ATTEMPTS = 1  # the retries are ours: esptool's would wait 7 s
                return esp
        assert first is not None
        raise first

    def _open(self, url: str) -> Any:
        try:
            return serial.serial_for_url(url, baudrate=ROM_BAUD, exclusive=True)
        except ValueError as error:  # an URL that pyserial cannot read
            raise Refused("port", f"port {url}: {error}") from error

    def _refuse_other_chip(self, esp: Any, wanted: str | None, *, force: bool) -> None:
        found = chip_name(esp.CHIP_NAME)
        self._info = ChipInfo(
            chip=found,
            description=esp.CHIP_NAME,
            revision="",
            mac="",
            flash_size=None,
            stub_was_running=bool(esp.sync_stub_detected),
        )
        if not esp.secure_download_mode:
            revision = esp.get_chip_revision()
            self._info = msgspec.structs.replace(
                self._info,
                description=esp.get_chip_description(),
                revision=f"v{revision // 100}.{revision % 100}",
                mac=":".join(f"{byte:02x}" for byte in esp.read_mac("BASE_MAC")),
            )
        self._emit(ChipFound(self._info))
        if wanted is not None and wanted != found and not force:
            label = CHIPS[wanted].label if wanted in CHIPS else wanted
            raise Refused(
                "wrong-chip",
                f"the board on the port is an {esp.CHIP_NAME} (MAC {self._info.mac}), "
                f"expected an {label}",
            )

    def _prepare(self, esp: Any, link: Link, baud: int) -> Any:
        """The stub loader and the transfer rate, the flash chip attached and its size known."""
        self.step = "stub"
        if link.stub:
            esp = cmds.run_stub(esp)
            esp.WRITE_FLASH_ATTEMPTS = 1
        if baud != esp.get_baud() and (esp.IS_STUB or baud > ROM_BAUD):
            esp.change_baud(baud)
        self._baud = esp.get_baud()
        self.step = "attach"
        cmds.attach_flash(esp)
        size = None if esp.secure_download_mode else flash_size_bytes(cmds.detect_flash_size(esp))
        assert self._info is not None
        self._info = msgspec.structs.replace(self._info, flash_size=size)
        if esp.IS_STUB:
            self._emit(StubRunning(self._baud))
        return esp

    # The operations

    def _run(self, esp: Any, request: Request) -> bytes:
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

    def _write(self, esp: Any, request: WriteRequest) -> None:
        self._refuse_too_large(request.pieces, request.needs)
        self.step = "write"
        if request.erase_all and not self._erased:
            self._erase_range(esp, 0, None)
            self._erased = True
        for index, piece in enumerate(request.pieces):
            if self._finished.get(index) is None:
                self._finished[index] = self._write_piece(esp, request, index, piece)

    def _write_piece(self, esp: Any, request: WriteRequest, index: int, piece: Piece) -> str:
        """Write one piece, verified by the chip's MD5; which of the four words it came to."""
        place = Place(index + 1, len(request.pieces), piece)
        wrote = verified = False
        md5sum, begin = esp.flash_md5sum, esp.flash_begin

        def watched_md5sum(address: int, size: int) -> Any:
            nonlocal verified
            if wrote and not request.verify:
                raise NotImplementedInROMError(esp, md5sum)  # esptool's word for "cannot ask"
            verified = True
            self._emit((Verifying if wrote else Comparing)(*place.fields()))
            return md5sum(address, size)

        def watched_begin(*args: Any, **kwargs: Any) -> Any:
            if not esp.IS_STUB:  # the ROM erases all of the region now, the stub as it writes
                self._emit(Erasing(piece.offset, len(piece.data)))
            return begin(*args, **kwargs)

        def progress(done: int, total: int, prefix: str) -> None:
            nonlocal wrote, verified
            wrote, verified = True, False
            self._emit(place.writing(done, total, prefix))

        self._logger.progress = progress
        esp.flash_md5sum, esp.flash_begin = watched_md5sum, watched_begin
        try:
            cmds.write_flash(
                esp,
                [(piece.offset, piece.data)],
                flash_freq=request.settings.freq,
                flash_mode=request.settings.mode,
                flash_size=request.settings.size,
                encrypt=piece.encrypted,
                force=request.force,
                skip_flashed=request.skip_unchanged and not self._erased,
            )
        finally:
            self._logger.progress = None
            del esp.flash_md5sum, esp.flash_begin
        if not verified:
            return "unverified"  # an encrypted region, or secure download mode: no chip can say
        self._emit((Verified if wrote else Skipped)(*place.fields()))
        return "written" if wrote else "skipped"

    def _verify(self, esp: Any, request: VerifyRequest) -> None:
        self._refuse_too_large(request.pieces, request.needs)
        self.step = "verify"
        different = []
        for index, piece in enumerate(request.pieces):
            place = Place(index + 1, len(request.pieces), piece)
            if piece.encrypted:
                self._finished[index] = "unverified"
                continue
            self._emit(Verifying(*place.fields()))
            if self._holds(esp, piece, request.settings):
                self._finished[index] = "verified"
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
        self.step = "read"

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
        self.step = "erase"
        self._erase_range(esp, request.offset, size)

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

    def _size(self) -> int | None:
        return self._info.flash_size if self._info is not None else None

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
