"""One request against one board, by esptool's library calls. Runs in the worker process only."""

from __future__ import annotations

import errno
import struct
import termios
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import serial
from esptool import cmds
from esptool.logger import log
from esptool.util import FatalError, flash_size_bytes

from firmware_flasher.chips import CHIPS, chip_name
from firmware_flasher.esptool_log import EventLogger
from firmware_flasher.messages import (
    ChipFound,
    ChipInfo,
    Connecting,
    Done,
    Event,
    Link,
    Log,
    Request,
    Resetting,
    Retrying,
    StubRunning,
    VerifyRequest,
    WriteRequest,
)
from firmware_flasher.noise import is_noise, is_vanished
from firmware_flasher.operations import Operations, Refused, State

ROM_BAUD = 115_200
"""The rate to synchronise at; the ROM finds it by itself (esptool, `ESP_ROM_BAUD`)."""

MAX_ATTEMPTS = 4
STUB_FAILURES = 2
"""So often the stub loader may fail to start; then it is done without."""
REAPPEAR_SECONDS = 10.0
"""How long a port may stay away after a reset: USB enumerates anew, an emulator starts anew."""

READ_SECONDS = 3.0
"""For what esptool waits without a limit of its own: the first word of a stub (it may hang)."""

_LOOK_AGAIN = 0.05
_AWAY = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.ECONNREFUSED)
"""What opening a port says while it is not back yet; EACCES: until udev has given it its group."""
_GARBLED = (struct.error, IndexError, ValueError, KeyError)
"""What esptool raises where an answer is too short or too odd for it."""
_PORT_ERRORS = (OSError, termios.error)
"""pyserial's exceptions are `OSError`s."""


class AskReset(Protocol):
    """Has the board's owner reset it; returns when it is done."""

    def __call__(self, *, download: bool, cold: bool = False) -> None: ...


class Session:
    """Serves one request. `step` names what it is at, for the error."""

    def __init__(self, emit: Callable[[Event], None], ask_reset: AskReset) -> None:
        self._emit = emit
        self._ask_reset = ask_reset
        self._logger = EventLogger(emit)
        self._baud = ROM_BAUD
        self._stubs = 0
        """How often the stub loader did not start."""
        self._state = State()
        self._operations = Operations(self._state, emit, self._logger)

    @property
    def step(self) -> str:
        """What it is at: open, connect, stub, attach, write, verify, read, erase, reset."""
        return self._state.step

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
                self._blame_the_stub(reason)
                if not self._worth_another(link, attempt, reason):
                    raise
                following = link.bauds[min(attempt + 1, len(link.bauds)) - 1]
                self._emit(Retrying(attempt, reason, following))
            else:
                return self._done(data, attempt - 1)
        raise AssertionError("the last attempt returns or raises")

    def _worth_another(self, link: Link, attempt: int, reason: str) -> bool:
        """Whether another attempt may mend it."""
        if attempt == MAX_ATTEMPTS or self.step == "open" or is_vanished(reason, None):
            return False
        if self.step == "stub":
            return True
        if self.step == "connect":  # esptool has reset it several times, where it can
            return attempt == 1 and (link.owner_resets or link.owner_powers)
        return is_noise(reason)

    def _blame_the_stub(self, reason: str) -> None:
        """Go on without it where it does not start: some emulators run no code but the flash's.

        It may have been the cable, too: what breaks on the way gets a second try.
        """
        if self.step != "stub" or self._stubs >= STUB_FAILURES:
            return
        self._stubs = self._stubs + 1 if is_noise(reason) else STUB_FAILURES
        if self._stubs == STUB_FAILURES:
            self._emit(Log("the stub loader does not start; the ROM's is slower", "warning"))

    def _done(self, data: bytes, retries: int) -> Done:
        states = list(self._state.finished.values())
        return Done(
            info=self._state.info,
            data=data,
            written=states.count("written") + states.count("unverified"),
            skipped=states.count("skipped"),
            verified=len(states) - states.count("unverified"),
            sent=self._state.sent,
            retries=retries,
            baud=self._baud,
        )

    def _attempt(self, request: Request, attempt: int, baud: int) -> bytes:
        link = request.link
        esp = self._connect(link, attempt)
        try:
            force = isinstance(request, WriteRequest | VerifyRequest) and request.force
            self._refuse_other_chip(esp, request.chip, force=force)
            self._refuse_other_board(link)
            esp = self._prepare(esp, link, baud)
            data = self._operations.run(esp, request)
            if not link.owner_resets:
                self._state.step = "reset"
                cmds.reset_chip(esp, link.after)
            return data
        except _GARBLED as error:
            raise FatalError(f"Response doesn't match request: {error!r}") from error
        finally:
            esp._port.close()

    # Connecting

    def _connect(self, link: Link, attempt: int) -> Any:
        """The chip, synchronised; also a stub that an interrupted flasher left at its own rate.

        From the second attempt on with its power taken away before, where its owner can do that.
        """
        cold = attempt > 1 and link.owner_powers
        if link.owner_resets or cold:
            self._emit(Resetting(download=link.owner_resets, cold=cold))
            self._ask_reset(download=link.owner_resets, cold=cold)
        back_by = time.monotonic() + (REAPPEAR_SECONDS if link.owner_resets or cold else 0.0)
        rates = [ROM_BAUD]
        if link.before == "no-reset":
            rates += [rate for rate in dict.fromkeys(link.bauds) if rate != ROM_BAUD]
        first: FatalError | None = None
        for rate in rates:
            self._emit(Connecting(attempt, rate))
            tries = link.connect_attempts if rate == ROM_BAUD else 1
            try:
                return self._synchronise(link, rate, tries, back_by)
            except FatalError as error:
                first = first or error
        assert first is not None
        raise first

    def _synchronise(self, link: Link, rate: int, tries: int, back_by: float) -> Any:
        """The chip at one rate. A port that goes away meanwhile is waited for: a reset did it."""
        while True:
            self._state.step = "open"
            port = self._open(link.url, back_by)
            self._state.step = "connect"
            try:
                esp = cmds.detect_chip(port, rate, link.before, False, tries)
            except FatalError:
                port.close()
                raise
            except _PORT_ERRORS as error:
                port.close()
                gone = is_vanished(str(error), getattr(error, "errno", None))
                if not gone or time.monotonic() > back_by:
                    raise
            except _GARBLED as error:
                port.close()
                raise FatalError(f"Response doesn't match request: {error!r}") from error
            else:
                esp.WRITE_FLASH_ATTEMPTS = 1  # the retries are ours: esptool's would wait 7 s
                return esp

    def _open(self, url: str, back_by: float) -> Any:
        while True:
            try:
                return serial.serial_for_url(
                    url, baudrate=ROM_BAUD, timeout=READ_SECONDS, exclusive=True
                )
            except ValueError as error:  # an URL that pyserial cannot read
                raise Refused("port", f"port {url}: {error}") from error
            except OSError as error:
                if time.monotonic() > back_by or not _is_away(error):
                    raise
            time.sleep(_LOOK_AGAIN)  # nothing to wait on: a port comes by appearing

    def _refuse_other_chip(self, esp: Any, wanted: str | None, *, force: bool) -> None:
        found = chip_name(esp.CHIP_NAME)
        self._state.info = ChipInfo(
            chip=found,
            description=esp.CHIP_NAME,
            revision="",
            mac="",
            flash_size=None,
            stub_was_running=bool(esp.sync_stub_detected),
        )
        if not esp.secure_download_mode:
            revision = esp.get_chip_revision()
            self._state.info = msgspec.structs.replace(
                self._state.info,
                description=esp.get_chip_description(),
                revision=f"v{revision // 100}.{revision % 100}",
                mac=_mac(esp),
            )
        self._emit(ChipFound(self._state.info))
        if wanted is not None and wanted != found and not force:
            label = CHIPS[wanted].label if wanted in CHIPS else wanted
            raise Refused(
                "wrong-chip",
                f"the board on the port is an {esp.CHIP_NAME} (MAC {self._state.info.mac}), "
                f"expected an {label}",
            )

    def _refuse_other_board(self, link: Link) -> None:
        found = self._state.info.mac if self._state.info else ""
        if link.mac is not None and found and found != link.mac:
            raise Refused("wrong-board", f"the board on {link.url} has MAC {found}, not {link.mac}")

    def _prepare(self, esp: Any, link: Link, baud: int) -> Any:
        """The stub loader and the transfer rate, the flash chip attached and its size known."""
        self._state.step = "stub"
        if link.stub and self._stubs < STUB_FAILURES:
            esp = cmds.run_stub(esp)
            esp.WRITE_FLASH_ATTEMPTS = 1
        if baud != esp.get_baud() and (esp.IS_STUB or baud > ROM_BAUD):
            esp.change_baud(baud)
        self._baud = esp.get_baud()
        self._state.step = "attach"
        cmds.attach_flash(esp)
        size = None if esp.secure_download_mode else flash_size_bytes(cmds.detect_flash_size(esp))
        assert self._state.info is not None
        self._state.info = msgspec.structs.replace(self._state.info, flash_size=size)
        if esp.IS_STUB:
            self._emit(StubRunning(self._baud))
        return esp


def _mac(esp: Any) -> str:
    """As it says; nothing where it has none of its own: an emulator's eFuses are often blank."""
    mac = bytes(esp.read_mac("BASE_MAC"))
    return ":".join(f"{byte:02x}" for byte in mac) if 0 < sum(mac) < 255 * len(mac) else ""


def _is_away(error: OSError) -> bool:
    """Whether a port that cannot be opened may yet come. pyserial hides the number at times."""
    text = str(error)
    return error.errno in _AWAY or any(f"[Errno {number}]" in text for number in _AWAY)
