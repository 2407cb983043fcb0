"""One boot of the chip, as boot code and application see it: between hardware and firmware."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from enum import IntEnum
from typing import TYPE_CHECKING

from rig.boards.virtual.firmware import AppImage
from rig.boards.virtual.nvs import Nvs
from rig.boards.virtual.wifi import Station

if TYPE_CHECKING:
    from rig.boards.virtual.chip import Chip


class Reset(IntEnum):
    """Why a chip boots, under the names of the ESP32-C3 ROM's `rst:` line."""

    POWERON = 0x1
    RTC_SW_SYS_RST = 0x3
    """`esp_restart()`"""
    TG0WDT_SYS_RST = 0x7
    """The watchdog of a boot that hangs."""
    RTC_SW_CPU_RST = 0xC
    """A panic's reboot."""
    RTCWDT_RTC_RST = 0x10
    """The watchdog that a loader arms to leave download mode."""


class Restart(Exception):
    """Raised by boot code or application to reboot the chip."""

    def __init__(self, reset: Reset = Reset.RTC_SW_SYS_RST) -> None:
        super().__init__(f"restart, {reset.name}")
        self.reset = reset


class System:
    """One a boot: after a reset there is a new one."""

    image: AppImage
    """The application image, once it runs."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self.mac = chip.mac
        self.nvs = Nvs(chip.flash, 0, 0)
        """The NVS partition; an empty one when the table names none."""
        self.firmware: str | None = None
        """Version of the application that runs."""
        self.station: Station | None = None
        self.sockets: list[socket.socket] = []
        """Accepted by the application."""
        self.listeners: list[socket.socket] = []
        self._ahead = 0.02
        """Seconds by which the chip's clock is ahead: the boot is quicker here than on a C3."""
        self._began = time.monotonic()
        self._typed = ""

    def hand_over(self, image: AppImage, nvs: Nvs) -> None:
        """The boot code is done: the application has the chip."""
        self.image, self.nvs, self.firmware = image, nvs, image.descriptor.version

    def say(self, text: str) -> None:
        """Print lines; the last line end is added. Never waits.

        Boot code does, on the chip's clock, until they are out.
        """
        data = (text.replace("\n", "\r\n") + "\r\n").encode("utf-8", "replace")
        self._chip.uart.write(data)
        if self.firmware is None:
            self.spend(len(data) * 10 / 115_200)

    def log(self, level: str, tag: str, text: str) -> None:
        """Print an ESP-IDF log record; the closed WiFi library leaves no space after its tag."""
        space = "" if tag == "wifi" else " "
        self.say(f"{level} ({self.millis()}) {tag}:{space}{text}")

    def spend(self, seconds: float) -> None:
        """Let the chip's clock run ahead of the host's."""
        self._ahead += seconds

    def millis(self) -> int:
        """Milliseconds since boot, as ESP-IDF's log stamps them."""
        return self.micros() // 1000

    def micros(self) -> int:
        """Microseconds since boot (`esp_timer_get_time`)."""
        return int((time.monotonic() - self._began + self._ahead) * 1e6)

    async def uart_line(self) -> str:
        """The next typed line that is not empty; what is longer than 255 characters is cut."""
        while True:
            line, *rest = re.split(r"[\r\n]", self._typed, maxsplit=1)
            if not rest:
                more = (await self._chip.uart.read()).decode("utf-8", "replace")
                self._typed = line[:256] + more
                continue
            self._typed = rest[0]
            if line:
                return line[:255]

    async def wifi_join(self) -> str:
        """Run the station until it has an address, and return that.

        Logs like ESP-IDF. Wrong credentials are tried again for ever, as most firmware does; later
        loss and return are handled and logged from then on.
        """
        chip = self._chip
        self.station = Station(chip.network, chip.access_point, self.nvs, self.log)
        address = await self.station.join(self.mac)
        chip.reset_stale()
        self._watch = asyncio.create_task(self.station.watch())
        return address

    def listen(self, port: int, backlog: int) -> socket.socket:
        """A non-blocking listening socket on the board's address. Raises `OSError`."""
        sock = socket.create_server((self._chip.network.address, port), backlog=backlog)
        sock.setblocking(False)
        self.listeners.append(sock)
        return sock

    def adopt(self, sock: socket.socket) -> None:
        """Hand over an accepted socket: silent after a reset, reset at the next boot."""
        self.sockets = [each for each in self.sockets if each.fileno() != -1]
        self.sockets.append(sock)
