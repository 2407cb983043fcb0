"""The chip: power, reset, strapping, and what runs after each: ROM, bootloader, application."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from rig.boards.virtual import boot
from rig.boards.virtual.firmware import AppImage
from rig.boards.virtual.flash import NorFlash
from rig.boards.virtual.net import Network
from rig.boards.virtual.nvs import Nvs
from rig.boards.virtual.registers import Registers
from rig.boards.virtual.rom import Leave, Loader
from rig.boards.virtual.system import RTC_SW_SYS_RST, Restart, System
from rig.boards.virtual.uart import Uart
from rig.boards.virtual.wifi import AccessPoint, Station
from rig.errors import FirmwareError

POWERON, RTCWDT_RTC_RST = 0x1, 0x10
BOOT_SECONDS = 0.05
"""Least real time of a boot, so that firmware that dies at once does not spin."""
_LINE = re.compile(r"[\r\n]")
_boot_number: ContextVar[int] = ContextVar("boot_number", default=0)

Application = Callable[[System], Awaitable[None]]


class Chip:
    """One ESP32-C3 on its board. `power`, `reset` and `unplug` act at once, whatever runs."""

    def __init__(
        self,
        *,
        flash: NorFlash,
        uart: Uart,
        network: Network,
        access_point: AccessPoint,
        mac: bytes,
        application: Application,
        failed: Callable[[BaseException], None],
    ) -> None:
        """`failed` is told when the model itself breaks, which is never the device's doing."""
        self.flash, self.uart, self.network = flash, uart, network
        self.access_point, self.mac = access_point, mac
        self.state = "off"
        """`off`, `download`, `boot`, `run` (the application), for the board's owner."""
        self.firmware: str | None = None
        self.station: Station | None = None
        self.registers = Registers(mac, flash, self._watchdog)
        self.sockets: list[socket.socket] = []
        """Accepted by the application of this boot."""
        self.listeners: list[socket.socket] = []
        self._stale: list[socket.socket] = []
        self._armed: asyncio.Future[None] | None = None
        self._application = application
        self._failed = failed
        self._download = False
        self._task: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._lock = asyncio.Lock()

    # -- what the board's owner does --------------------------------------------------------------

    async def power(self, on: bool) -> None:
        """Switch it on or off; off is instant, also in the middle of a flash operation."""
        async with self._lock:
            if on is (self.state != "off"):
                return
            if on:
                self._download = False
                self._start(POWERON)
                return
            await self._stop()
            self.state, self.firmware, self.station = "off", None, None
            self.uart.cut()
            self.registers.lose()

    async def reset(self, *, download: bool = False) -> None:
        """Pull the EN line, on `download` with BOOT held. A chip without power stays off."""
        async with self._lock:
            if self.state == "off":
                return
            await self._stop()
            self._download = download
            self._start(POWERON)

    def _start(self, reset_code: int) -> None:
        self.state = "boot"
        self._task = asyncio.create_task(self._life(reset_code))

    async def _stop(self) -> None:
        """End the CPU: every task of this boot, wherever it waits; its sockets fall silent."""
        if self._task is not None:
            task, self._task = self._task, None
            await self._silence()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _silence(self) -> None:
        """A chip that resets says nothing: keep the sockets, deaf, for the next boot to reset."""
        self._keep()
        await self.network.detach()
        self._keep()

    def _keep(self) -> None:
        for sock in self.sockets:
            if sock.fileno() != -1:
                self.network.mute(sock)
                self._stale += [sock.dup(), sock]
        self.sockets.clear()

    def reset_stale(self) -> None:
        """The network is up again: segments of old connections now meet a reset."""
        for sock in self._stale:
            if sock.fileno() == -1:
                continue  # the application had closed its own descriptor
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self._stale.clear()

    # -- what the chip does -----------------------------------------------------------------------

    async def _life(self, reset_code: int) -> None:
        """Boot after boot, until power or reset end it."""
        while True:
            number = next(self._numbers)
            self.uart.reset()
            self.registers.reset()
            self.state, self.firmware, self.station = "boot", None, None
            running = Running(self)
            cpu = asyncio.create_task(self._cpu(running, number, reset_code))
            try:
                reset_code = await cpu
            except Exception as error:  # noqa: BLE001 - the model broke: its owner must hear of it
                self._failed(error)
                return
            finally:
                await self._end(cpu, number)
            if reset_code == RTCWDT_RTC_RST:
                self._download = False  # a chip reset samples the pin again: nobody holds it

    async def _end(self, cpu: asyncio.Task[int], number: int) -> None:
        """Nothing that this boot started goes on."""
        await self._silence()
        mine = [t for t in asyncio.all_tasks() if t.get_context().get(_boot_number) == number]
        for task in {cpu, *mine}:
            task.cancel()
        await asyncio.gather(cpu, *mine, return_exceptions=True)
        for listener in self.listeners:
            listener.close()
        self.listeners.clear()

    async def _cpu(self, running: Running, number: int, reset_code: int) -> int:
        """One boot; the reset code of the next."""
        _boot_number.set(number)
        try:
            if await self._banner(running, reset_code) is Leave.REBOOT:
                return RTC_SW_SYS_RST
            first = await boot.first_stage(running, self.flash, self.uart)
            booted = await boot.second_stage(running, self.flash, first)
            running.hand_over(booted)
            await asyncio.sleep(BOOT_SECONDS)
            self.state = "run"
            self.firmware = booted.image.descriptor.version
            await self._application(running)
            await asyncio.Event().wait()  # app_main may return; its tasks go on
        except Restart as restart:
            return restart.reset_code
        except FirmwareError as error:
            running.say(f"virtual board: {error.message}")
            await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def _banner(self, running: Running, reset_code: int) -> Leave:
        """The ROM's first words, and download mode when strapped so."""
        running.say("ESP-ROM:esp32c3-api1-20210207\nBuild:Feb  7 2021")
        mode = "0x2 (UART0_BOOT)" if self._download else "0x8 (SPI_FAST_FLASH_BOOT)"
        running.say(f"rst:{reset_code:#x} ({boot.RESET_NAMES[reset_code]}),boot:{mode}")
        if reset_code not in (POWERON, RTCWDT_RTC_RST):
            running.say("Saved PC:0x40048b82")
        if not self._download:
            return Leave.RUN
        running.say("wait uart0 download")
        self.state = "download"
        self._armed = asyncio.get_running_loop().create_future()
        loader = asyncio.create_task(Loader(self.uart, self.flash, self.registers).serve())
        both: set[asyncio.Future[Any]] = {loader, self._armed}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not loader.done():
            await asyncio.sleep(0.02)  # its reply still leaves
            raise Restart(RTCWDT_RTC_RST)
        if loader.result() is Leave.CRASHED:
            await asyncio.sleep(boot.WATCHDOG_SECONDS)
            raise Restart(boot.TG0WDT_SYS_RST)
        self.state = "boot"
        return loader.result()

    def _watchdog(self) -> None:
        if self._armed and not self._armed.done():
            self._armed.set_result(None)


class Running:
    """One boot: the chip as boot code (`boot.Console`) and application (`System`) see it."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._ahead = 0.02
        """Seconds by which the chip's clock is ahead: the boot is quicker here than on a C3."""
        self._began = time.monotonic()
        self._typed = ""
        self._nvs = Nvs(chip.flash, 0, 0)
        self._image: AppImage | None = None

    # -- boot.Console -----------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Print lines as the ROM and the loader do: the UART's time passes on the clock."""
        self.uart_write(text)
        self.spend((len(text) + 2) * 10 / 115_200)

    def log(self, level: str, tag: str, text: str) -> None:
        """Print an ESP-IDF log record; the closed WiFi library leaves no space after its tag."""
        space = "" if tag == "wifi" else " "
        self.say(f"{level} ({self.millis()}) {tag}:{space}{text}")

    def spend(self, seconds: float) -> None:
        """Let the chip's clock run ahead of the host's."""
        self._ahead += seconds

    def hand_over(self, booted: boot.Booted) -> None:
        """The application takes over: its image, its NVS partition."""
        self._image = booted.image
        part = next((p for p in booted.partitions if (p.kind, p.subtype) == (1, 2)), None)
        if part:
            self._nvs = Nvs(self._chip.flash, part.offset, part.size)

    # -- System -----------------------------------------------------------------------------------

    @property
    def image(self) -> AppImage:
        """The application image that was booted."""
        assert self._image is not None
        return self._image

    @property
    def mac(self) -> bytes:
        """Station MAC address."""
        return self._chip.mac

    def uart_write(self, text: str) -> None:
        """Print lines; the last line end is added."""
        data = text.replace("\n", "\r\n") + "\r\n"
        self._chip.uart.write(data.encode("utf-8", "replace"))

    async def uart_line(self) -> str:
        """The next typed line that is not empty; what is longer than 255 characters is cut."""
        while True:
            line, end, rest = _cut(self._typed)
            if end:
                self._typed = rest
                if line:
                    return line[:255]
                continue
            self._typed = self._typed[:256]
            self._typed += (await self._chip.uart.read()).decode("utf-8", "replace")

    def millis(self) -> int:
        """Milliseconds since boot."""
        return self.micros() // 1000

    def micros(self) -> int:
        """Microseconds since boot."""
        return int((time.monotonic() - self._began + self._ahead) * 1e6)

    def nvs(self) -> Nvs:
        """The NVS partition; an empty one when the table names none."""
        return self._nvs

    async def wifi_join(self) -> str:
        """Join, reset what an earlier boot left connected, and keep joined from then on."""
        chip = self._chip
        station = Station(chip.network, chip.access_point, self._nvs, self.log)
        chip.station = station
        address = await station.join(chip.mac)
        chip.reset_stale()
        self._watch = asyncio.create_task(station.watch())
        return address

    def listen(self, port: int, backlog: int) -> socket.socket:
        """A non-blocking listening socket on the board's address."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._chip.network.address, port))
            sock.listen(backlog)
        except OSError:
            sock.close()
            raise
        self._chip.listeners.append(sock)
        return sock

    def adopt(self, sock: socket.socket) -> None:
        """Remember an accepted socket."""
        self._chip.sockets = [s for s in self._chip.sockets if s.fileno() != -1]
        self._chip.sockets.append(sock)


def _cut(text: str) -> tuple[str, str, str]:
    """A line, its end, and what follows."""
    found = _LINE.search(text)
    if found is None:
        return text, "", ""
    return text[: found.start()], found[0], text[found.end() :]
