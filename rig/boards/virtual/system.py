"""The seam between the model of the hardware and the model of the firmware that runs on it."""

from __future__ import annotations

import socket
from typing import Protocol

from rig.boards.virtual.firmware import AppImage

RTC_SW_SYS_RST = 0x3
"""Reset code after `esp_restart()` (ESP32-C3 ROM, `rst:` line)."""
RTC_SW_CPU_RST = 0xC
"""Reset code after a panic's reboot."""


class Restart(Exception):
    """Raised by the application to reboot the chip. `reset_code` is what the next `rst:` says."""

    def __init__(self, reset_code: int = RTC_SW_SYS_RST) -> None:
        super().__init__(f"restart, reset code {reset_code:#x}")
        self.reset_code = reset_code


class Store(Protocol):
    """The NVS partition, parsed; what is put is kept over resets."""

    def get(self, namespace: str, key: str) -> int | str | bytes | None:
        """The value, None when there is none of that name."""
        ...

    def put(self, namespace: str, key: str, value: int) -> None:
        """Store `value` as u32. Kept over resets and power cuts."""
        ...


class System(Protocol):
    """The chip as its application sees it. One a boot: after a reset there is a new one."""

    @property
    def image(self) -> AppImage:
        """The application image that was booted."""
        ...

    @property
    def mac(self) -> bytes:
        """Station MAC address, 6 bytes (from the eFuses)."""
        ...

    def uart_write(self, text: str) -> None:
        """Print `text`, one or several lines without the last line end; never blocks."""
        ...

    async def uart_line(self) -> str:
        """The next line typed on the console, without its line end (at most 255 characters)."""
        ...

    def millis(self) -> int:
        """Milliseconds since boot, as ESP-IDF's log stamps them."""
        ...

    def micros(self) -> int:
        """Microseconds since boot (`esp_timer_get_time`)."""
        ...

    def nvs(self) -> Store:
        """The NVS partition."""
        ...

    async def wifi_join(self) -> str:
        """Run the station until it has an address, and return that.

        Logs like ESP-IDF. Wrong credentials are tried again for ever, as most firmware does; later
        loss and rejoin are handled and logged by the chip.
        """
        ...

    def listen(self, port: int, backlog: int) -> socket.socket:
        """A non-blocking listening socket on the board's address. Raises `OSError`."""
        ...

    def adopt(self, sock: socket.socket) -> None:
        """Hand over an accepted socket: silent after a reset, reset at the next boot."""
        ...
