"""A stand-in for the firmware model, for tests of the hardware alone.

`python stand_in.py --home DIR` is a board that runs it.
It joins the network, echoes what TCP brings on port 8928, and obeys a few words on the console.
"""

from __future__ import annotations

import asyncio
import sys

from rig.boards.virtual.process import main
from rig.boards.virtual.system import Reset, Restart, System


async def app_main(system: System) -> None:
    """The application: one listener, one console."""
    system.say(f"I ({system.millis()}) main_task: Calling app_main()")
    serving = asyncio.create_task(_serve(system))
    try:
        while True:
            word, _, rest = (await system.uart_line()).partition(" ")
            if word == "count":
                count = (system.nvs.get("stand_in", "count") or 0) + 1
                system.nvs.put("stand_in", "count", count)
                system.say(f"count {count}")
            elif word == "panic":
                raise Restart(Reset.RTC_SW_CPU_RST)
            elif word == "restart":
                raise Restart
            elif word == "break":
                raise RuntimeError("the stand-in was told to break")
            else:
                system.say(f"heard {word} {rest}")
    finally:
        serving.cancel()


async def _serve(system: System) -> None:
    loop = asyncio.get_running_loop()
    address = await system.wifi_join()
    listener = system.listen(8928, 4)
    system.say(f"listening on {address}")
    async with asyncio.TaskGroup() as tasks:
        while True:
            sock, _ = await loop.sock_accept(listener)
            system.adopt(sock)
            tasks.create_task(_echo(sock))


async def _echo(sock) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, 4096):
        await loop.sock_sendall(sock, data)
    sock.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], app_main))
