"""A serial port's modem lines, wired to an ESP board's EN and IO0 by the usual two transistors.

Classic sequence (esptool's documentation, "Boot Mode Selection"): RTS holds EN low (reset), DTR
holds IO0 low (download mode); with both asserted, neither is. Typing on a port that nobody else has
open lives here too.
"""

from __future__ import annotations

import asyncio

import serial

from rig.errors import BoardError

EN_LOW_SECONDS = 0.1
"""How long EN is held low: esptool's classic reset."""
IO0_LOW_SECONDS = 0.05
"""How long IO0 stays low after EN is released, so that the ROM samples it."""


def _open(url: str, baud: int = 115_200) -> serial.SerialBase:
    """Open with both lines asserted together, which resets no board wired in the usual way."""
    try:
        port = serial.serial_for_url(url, baudrate=baud, do_not_open=True, timeout=0)
        port.write_timeout = 5
        port.dtr = port.rts = True
        port.open()
    except (OSError, ValueError) as error:
        raise BoardError(
            f"cannot open the port {url}: {error}",
            hint="is it plugged in, and are you in its group (dialout)? `rig doctor` says",
        ) from error
    return port


async def reset_by_lines(url: str, *, download: bool = False) -> None:
    """Reset the board on this port, into download mode on request. Raises `BoardError`."""
    port = await asyncio.to_thread(_open, url)
    try:
        port.dtr = False
        port.rts = True
        await asyncio.sleep(EN_LOW_SECONDS)
        if download:
            port.dtr = True
            port.rts = False
            await asyncio.sleep(IO0_LOW_SECONDS)
            port.dtr = False
        else:
            port.rts = False
    except OSError as error:
        raise BoardError(
            f"the port {url} has no DTR and RTS lines: {error}",
            hint="give its bench table a reset command, or reset = 'none'",
        ) from error
    finally:
        await asyncio.to_thread(port.close)


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
