"""The application of the model's firmware: boot log, network, and the three tasks it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from rig.boards.virtual.cpu import LoadFault, begin_task
from rig.boards.virtual.panic import dump
from rig.boards.virtual.sendspin.client import Client
from rig.boards.virtual.sendspin.messages import COMMANDS
from rig.boards.virtual.sendspin.versions import VERSIONS
from rig.boards.virtual.system import Reset, Restart, System

TURN = 0.007
"""Seconds between two turns of the main loop."""
LATE = 1.2
"""Turns that one may take before the host counts as late, see `_turn`."""
TALK_LIMIT = 1000


async def app_main(system: System) -> None:
    """Run until cancelled. Raises `Restart` after a panic."""
    _greet(system)
    version = VERSIONS.get(system.image.descriptor.version)
    if version is None:
        known = ", ".join(VERSIONS)
        text = f"this application is no version that the model knows ({known}): it stays idle"
        system.log("E", "main", text)
        await asyncio.Event().wait()
        return
    begin_task()
    await system.wifi_join()
    client = Client(system, version)
    tasks = [
        asyncio.create_task(_task(system, client.httpd.run()), name="httpd"),
        asyncio.create_task(_task(system, _main_task(client)), name="main"),
        asyncio.create_task(_task(system, _console_task(system, client)), name="console"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _task(system: System, body: Awaitable[None]) -> None:
    """A task of the firmware: a fault in it is the chip's panic, there and then."""
    try:
        await body
    except LoadFault as fault:
        dump(system, fault)
        raise Restart(Reset.RTC_SW_CPU_RST) from fault


async def _main_task(client: Client) -> None:
    begin_task("main_task", "app_main", "sendspin::SendspinClient::loop")
    while True:
        client.loop()
        await _turn()


async def _turn() -> None:
    """Sleep until the next turn, and half a turn more, in pieces, when the host was late.

    Else a busy host would have the loop turn ahead of all that happened meanwhile.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.sleep(TURN)
    if loop.time() - begun > LATE * TURN:
        for _ in range(3):
            await asyncio.sleep(TURN / 6)


async def _console_task(system: System, client: Client) -> None:
    begin_task()
    while True:
        words = (await system.uart_line()).split()
        match words:
            case ["talk", count] if _is_count(count):
                system.log("I", "talk", f"queueing {int(count)} client/state")
                for _ in range(int(count)):
                    client.turn_volume()
            case ["command", name] if name in COMMANDS:
                system.log("I", "talk", f"sending client/command {name}")
                client.send_command(name)
            case []:
                pass
            case _:
                known = f"talk N (1 to {TALK_LIMIT}), command NAME ({' '.join(COMMANDS)})"
                text = f"unknown command '{' '.join(words)[:64]}'; there is: {known}"
                system.log("E", "talk", text)


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 6 and 1 <= int(word) <= TALK_LIMIT


def _greet(system: System) -> None:
    """What ESP-IDF 5.5's start-up code prints before `app_main`."""
    about = system.image.descriptor
    lines = (
        ("cpu_start", "Unicore app"),
        ("cpu_start", "Pro cpu start user code"),
        ("cpu_start", "cpu freq: 160000000 Hz"),
        ("app_init", "Application information:"),
        ("app_init", f"Project name:     {about.project_name}"),
        ("app_init", f"App version:      {about.version}"),
        ("app_init", f"Compile time:     {about.date} {about.time}"),
        ("app_init", f"ELF file SHA256:  {about.elf_sha256.hex()[:9]}..."),
        ("app_init", f"ESP-IDF:          {about.idf_version}"),
        ("efuse_init", "Min chip rev:     v0.3"),
        ("efuse_init", "Max chip rev:     v1.99"),
        ("efuse_init", "Chip rev:         v0.4"),
        ("heap_init", "Initializing. RAM available for dynamic allocation:"),
        ("heap_init", "At 3FC94000 len 0002C000 (176 KiB): RAM"),
        ("spi_flash", "detected chip: generic"),
        ("spi_flash", "flash io: dio"),
        ("main_task", "Started on CPU0"),
        ("main_task", "Calling app_main()"),
    )
    for tag, text in lines:
        system.log("I", tag, text)
