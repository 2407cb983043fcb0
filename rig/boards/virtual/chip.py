"""The chip: power, reset, strapping, and what runs after each: ROM, bootloader, application."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from rig.boards.virtual import boot
from rig.boards.virtual.flash import NorFlash
from rig.boards.virtual.net import Network
from rig.boards.virtual.registers import Registers
from rig.boards.virtual.rom import Leave, Loader
from rig.boards.virtual.system import Reset, Restart, System
from rig.boards.virtual.uart import Uart
from rig.boards.virtual.wifi import AccessPoint
from rig.errors import FirmwareError

BOOT_SECONDS = 0.05
"""Least real time of a boot, so that firmware that dies at once does not spin."""
_boot: ContextVar[System] = ContextVar("boot")

Application = Callable[[System], Awaitable[None]]


class Chip:
    """One ESP32-C3 on its board. `power` and `reset` act at once, whatever runs."""

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
        self.system: System | None = None
        """This boot, while there is power."""
        self.registers = Registers(mac, flash, self._watchdog)
        self._stale: list[socket.socket] = []
        self._armed: asyncio.Future[None] | None = None
        self._application = application
        self._failed = failed
        self._download = False
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    # -- what the board's owner does --------------------------------------------------------------

    async def power(self, on: bool) -> None:
        """Switch it on or off; off is instant, also in the middle of a flash operation."""
        async with self._lock:
            if on is (self.state != "off"):
                return
            if on:
                self._start(download=False)
                return
            await self._stop()
            self.state, self.system = "off", None
            self.uart.cut()
            self.registers.lose()

    async def reset(self, *, download: bool = False) -> None:
        """Pull the EN line, on `download` with BOOT held. A chip without power stays off."""
        async with self._lock:
            if self.state != "off":
                await self._stop()
                self._start(download=download)

    def _start(self, *, download: bool) -> None:
        self.state, self._download = "boot", download
        self._task = asyncio.create_task(self._life())

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
        if self.system is not None:
            for sock in self.system.sockets:
                if sock.fileno() != -1:
                    self.network.mute(sock)
                    self._stale += [sock.dup(), sock]
            self.system.sockets.clear()

    def reset_stale(self) -> None:
        """The network is up again: segments of old connections now meet a reset."""
        for sock in self._stale:
            if sock.fileno() != -1:  # else the application had closed its own descriptor
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
        self._stale.clear()

    # -- what the chip does -----------------------------------------------------------------------

    async def _life(self) -> None:
        """Boot after boot, until power or reset end it."""
        reset = Reset.POWERON
        while True:
            self.uart.reset()
            self.registers.reset()
            self.state = "boot"
            self.system = System(self)
            cpu = asyncio.create_task(self._cpu(self.system, reset))
            try:
                reset = await cpu
            except Exception as error:  # noqa: BLE001 - the model broke: its owner must hear of it
                self._failed(error)
                return
            finally:
                await self._end(self.system, cpu)
            if reset == Reset.RTCWDT_RTC_RST:
                self._download = False  # a chip reset samples the pin again: nobody holds it

    async def _end(self, system: System, cpu: asyncio.Task[Reset]) -> None:
        """Nothing that this boot started goes on."""
        await self._silence()
        mine = [t for t in asyncio.all_tasks() if t.get_context().get(_boot) is system]
        for task in {cpu, *mine}:
            task.cancel()
        await asyncio.gather(cpu, *mine, return_exceptions=True)
        for listener in system.listeners:
            listener.close()

    async def _cpu(self, system: System, reset: Reset) -> Reset:
        """One boot; the reason of the next."""
        _boot.set(system)
        try:
            mode = "0x2 (UART0_BOOT)" if self._download else "0x8 (SPI_FAST_FLASH_BOOT)"
            system.say("ESP-ROM:esp32c3-api1-20210207\nBuild:Feb  7 2021")
            system.say(f"rst:{reset:#x} ({reset.name}),boot:{mode}")
            if reset not in (Reset.POWERON, Reset.RTCWDT_RTC_RST):
                system.say("Saved PC:0x40048b82")
            if self._download:
                await self._load(system)
            first = await boot.first_stage(system, self.flash, self.uart)
            system.hand_over(*await boot.second_stage(system, self.flash, first))
            await asyncio.sleep(BOOT_SECONDS)
            self.state = "run"
            await self._application(system)
        except Restart as restart:
            return restart.reset
        except FirmwareError as error:
            system.say(f"virtual board: {error.message}")
        return await asyncio.Future()  # app_main may return; its tasks go on

    async def _load(self, system: System) -> None:
        """Download mode, until a loader boots from flash; else raises `Restart`."""
        system.say("wait uart0 download")
        self.state = "download"
        self._armed = asyncio.get_running_loop().create_future()
        loader = asyncio.create_task(Loader(self.uart, self.flash, self.registers).serve())
        both: set[asyncio.Future[Any]] = {loader, self._armed}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not loader.done():
            await asyncio.sleep(0.02)  # its reply still leaves
            raise Restart(Reset.RTCWDT_RTC_RST)
        if loader.result() is Leave.CRASHED:
            await asyncio.sleep(boot.WATCHDOG_SECONDS)
            raise Restart(Reset.TG0WDT_SYS_RST)
        if loader.result() is Leave.REBOOT:
            raise Restart
        self.state = "boot"

    def _watchdog(self) -> None:
        if self._armed and not self._armed.done():
            self._armed.set_result(None)
