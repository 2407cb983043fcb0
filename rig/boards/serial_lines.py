"""A serial port's modem lines, wired to an ESP board's EN and IO0.

What is pulsed is written in esptool's language for reset sequences (`D1` asserts DTR, `R0` releases
RTS, `U1,0` sets both at once, `W0.1` waits), and played by Espressif's `esp_pylib`. Sources:
esptool's documentation, "Boot Mode Selection" and "Custom Reset Sequence". The usual two
transistors take both lines asserted, and neither, as "run"; RTS alone holds EN low (reset), DTR
alone IO0 (download mode). Chips with a USB-Serial-JTAG inside take the same lines as requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serial
from esp_pylib.serial_reset import (
    classic_bootloader_reset,
    execute_custom_reset,
    hard_reset,
    parse_custom_reset_sequence,
)

from rig.errors import BenchError, BoardError

EN_LOW = 0.1
"""Seconds that EN is held low: esptool's classic reset."""
IO0_LOW = 0.05
"""Seconds that IO0 stays low after EN is released, so that the ROM samples it."""
JTAG_LOW = 0.2
"""Seconds that a USB-Serial-JTAG is held in reset: it leaves the bus meanwhile."""
LONGEST = 30.0
_NAMES = ("rts", "dtr", "!rts", "!dtr")


@dataclass(frozen=True, slots=True)
class Pins:
    """The `[boards.NAME.pins]` table: what the lines drive; `!`: asserted means high."""

    en: str = "rts"
    io0: str = "dtr"
    usb_jtag: bool | None = None
    """The lines of a USB-Serial-JTAG; by default as the adapter's USB id says."""
    reset: str | None = None
    """A sequence of one's own that resets it."""
    download: str | None = None
    """A sequence of one's own that resets it into download mode."""
    open: str = "asserted"
    """How both lines are asked to be when a console is opened: `asserted` or `released`."""

    def __post_init__(self) -> None:
        for key in ("en", "io0"):
            if getattr(self, key) not in _NAMES:
                raise BenchError(
                    f"{key}: '{getattr(self, key)}' is no line", hint="rts, dtr, !rts or !dtr"
                )
        if self.en.strip("!") == self.io0.strip("!"):
            raise BenchError("io0: en and io0 cannot be one line", hint="en = 'rts', io0 = 'dtr'")
        if self.open not in ("asserted", "released"):
            raise BenchError(f"open: '{self.open}'", hint="asserted or released")
        for key in ("reset", "download"):
            steps = getattr(self, key)
            if steps is not None:
                _check(key, steps)

    @property
    def usual(self) -> bool:
        """Whether esptool's own resets do for this wiring."""
        return self.en == "rts" and self.io0 == "dtr" and not (self.reset or self.download)


USUAL_PINS = Pins()
"""The usual two transistors."""


def _check(key: str, steps: str) -> None:
    try:
        parsed = parse_custom_reset_sequence(steps)
        waits = [float(step["duration"]) for step in parsed if step["type"] == "wait"]
        if not parsed or not all(0 <= wait <= LONGEST for wait in waits) or sum(waits) > LONGEST:
            raise ValueError(f"expected steps that take at most {LONGEST:.0f} s")
    except ValueError as error:
        raise BenchError(
            f"{key}: '{steps}' is no reset sequence: {error}", hint="'D0|R1|W0.1|D1|R0|W0.05|D0'"
        ) from error


def sequence(pins: Pins, *, download: bool = False, usb_jtag: bool = False) -> str:
    """The steps that reset a board wired like this."""
    own = pins.download if download else pins.reset
    if own is not None:
        return own
    if pins.usb_jtag if pins.usb_jtag is not None else usb_jtag:
        if download:  # the request bit first, then reset by way of both lines asserted
            return "R0|D0|W0.1|D1|R0|W0.1|R1|D0|R1|W0.1|D0|R0"
        return f"D0|R1|W{JTAG_LOW}|R0|W{JTAG_LOW}"
    en_low, en_high = _level(pins.en)
    io0_low, io0_high = _level(pins.io0)
    if not download:
        return "|".join([io0_high, en_low, f"W{EN_LOW}", en_high])
    start = [io0_high, en_low, f"W{EN_LOW}"]
    return "|".join([*start, io0_low, en_high, f"W{IO0_LOW}", io0_high])


def _level(line: str) -> tuple[str, str]:
    """The steps that drive what is on a line low, and high."""
    letter = line.strip("!")[0].upper()
    return (f"{letter}0", f"{letter}1") if line.startswith("!") else (f"{letter}1", f"{letter}0")


def _open(url: str, baud: int = 115_200) -> serial.Serial:
    """Open with both lines asserted together, which resets no board wired in the usual way."""
    from rig.boards.port_trouble import refused

    try:
        port = serial.serial_for_url(url, baudrate=baud, do_not_open=True, timeout=0)
        if not url.startswith("rfc2217://"):  # pyserial's client has none
            port.write_timeout = 5
        port.dtr = port.rts = True
        port.open()
    except (OSError, ValueError) as error:
        raise refused(url, error) from error
    return port


async def reset_by_lines(
    url: str,
    *,
    download: bool = False,
    pins: Pins = USUAL_PINS,
    usb_jtag: bool = False,
    flow_control: bool = False,
    port: serial.SerialBase | None = None,
) -> None:
    """Reset the board on this port, into download mode on request. Raises `BoardError`.

    `flow_control`: the adapter moves RTS by itself (CP2102C), as received bytes fill it and when
    it is closed; esptool's sequences for such a one, where the wiring is the usual one.
    `port`: it is open already, and stays so.
    """
    lines: Any = port if port is not None else await asyncio.to_thread(_open, url)
    steps = sequence(pins, download=download, usb_jtag=usb_jtag)
    try:
        if flow_control and pins.usual and not usb_jtag:
            way = classic_bootloader_reset if download else hard_reset
            await asyncio.to_thread(way, lines, flow_control=True)
        else:
            await asyncio.to_thread(execute_custom_reset, lines, steps)
    except (OSError, NotImplementedError) as error:
        if not isinstance(error, NotImplementedError) and _went_with_the_reset(url):
            return  # USB inside the chip: the port leaves the bus with the chip's reset
        raise BoardError(
            f"the port {url} has no DTR and RTS lines: {error}",
            hint="give its bench table a reset command, or reset = 'none'",
        ) from error
    finally:
        if port is None:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(lines.close)


def _went_with_the_reset(url: str) -> bool:
    return "://" not in url and not Path(url).exists()


async def type_on(url: str, baud: int, data: bytes) -> None:
    """Type `data` on a console that nobody else types on. Raises `BoardError`."""

    def typed() -> None:
        with _open(url, baud) as port:
            port.write(data)
            port.flush()

    try:
        await asyncio.to_thread(typed)
    except (OSError, serial.SerialException) as error:
        raise BoardError(f"cannot type on the console {url}: {error}") from error
