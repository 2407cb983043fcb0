"""The access point's side of the radio: hostapd's control socket, a NetworkManager hotspot.

Built to the documented interfaces (hostapd's `ctrl_iface`, nmcli(1)); on the project's own machines
there is no radio, so it is tested against a socket that answers as hostapd does.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rig.air import tools
from rig.air.journal import AccessPoint
from rig.errors import FaultError

ANSWER_S = 5.0
_LARGEST = 4096
_MOST_EVENTS = 1000
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)


class Hostapd:
    """hostapd by its control socket (`ctrl_interface=` in hostapd.conf); an async context manager.

    `path` is the socket of one interface, such as `/run/hostapd/wlan0`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: asyncio.Queue[str] = asyncio.Queue(_MOST_EVENTS)
        """What it says by itself (bounded): `AP-STA-CONNECTED MAC`, `AP-STA-DISCONNECTED MAC`."""
        self.counts: Counter[str] = Counter()
        """Its own events by their first word."""
        self.gone: Counter[str] = Counter()
        """How often it said that a station has gone, by link address."""
        self.joined: Counter[str] = Counter()
        """How often it said that a station has come (back)."""
        self._answers: asyncio.Queue[str] = asyncio.Queue(_MOST_EVENTS)
        self._lock = asyncio.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._socket: socket.socket | None = None

    async def __aenter__(self) -> Self:
        """Connect and subscribe. Raises `FaultError`: no hostapd there, no right to it."""
        self._folder = tempfile.TemporaryDirectory(prefix="srig-hostapd-")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(os.fspath(Path(self._folder.name) / "ctrl"))
            self._socket.connect(os.fspath(self.path))
        except OSError as error:
            self.close()
            raise FaultError(
                f"no hostapd answers at {self.path}: {error.strerror}",
                hint="hostapd.conf needs ctrl_interface= and a ctrl_interface_group of yours",
            ) from error
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        try:
            if await self.ask("PING") != "PONG":
                raise FaultError(f"{self.path} is no control socket of hostapd's")
            await self.do("ATTACH")
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- what it can do -----------------------------------------------------------------------

    async def deauthenticate(self, station: str, *, reason: int = 7) -> None:
        """Send a station away (IEEE 802.11, reason codes of 9.4.1.7). Raises `FaultError`."""
        await self.do(f"DEAUTHENTICATE {_mac(station)} reason={int(reason)}")

    async def disassociate(self, station: str, *, reason: int = 8) -> None:
        """End a station's association; it stays authenticated. Raises `FaultError`."""
        await self.do(f"DISASSOCIATE {_mac(station)} reason={int(reason)}")

    async def disable(self) -> None:
        """Take the access point off the air. Raises `FaultError`."""
        await self.do("DISABLE")

    async def enable(self) -> None:
        """Put it on the air again. Raises `FaultError`."""
        await self.do("ENABLE")

    async def switch_channel(self, frequency_mhz: int, *, after_beacons: int = 5) -> None:
        """Announce a move to another channel, and move. Raises `FaultError`."""
        if not 2400 <= frequency_mhz <= 7200:
            raise FaultError(f"{frequency_mhz} MHz is no channel of 802.11's")
        await self.do(f"CHAN_SWITCH {int(after_beacons)} {int(frequency_mhz)}")

    async def state(self) -> tuple[bool, int | None]:
        """Whether it is on the air, and its channel in MHz. Raises `FaultError`."""
        lines = dict(line.partition("=")[::2] for line in (await self.ask("STATUS")).splitlines())
        mhz = lines.get("freq", "")
        on = lines.get("state") == "ENABLED"
        return on, int(mhz) if mhz.isdecimal() and int(mhz) else None

    async def bssid(self) -> str:
        """Its own link address. Raises `FaultError`."""
        found = re.search(r"^bssid\[0\]=(.*)$", await self.ask("STATUS"), re.MULTILINE)
        return _mac(found[1] if found else "")

    async def stations(self) -> list[str]:
        """Who is associated, by link address: the proof of coming and going."""
        found: list[str] = []
        answer = await self.ask("STA-FIRST")
        while (mac := _MAC.match(answer)) is not None and len(found) < 1000:
            found.append(mac[0].lower())
            answer = await self.ask(f"STA-NEXT {found[-1]}")
        return found

    async def left(self, station: str, within: float) -> bool:
        """Whether hostapd says, within `within` s, that a station has gone."""
        wanted = f"AP-STA-DISCONNECTED {_mac(station)}"
        try:
            async with asyncio.timeout(within):
                while True:
                    if (await self.events.get()).lower() == wanted.lower():
                        return True
        except TimeoutError:
            return False

    async def do(self, command: str) -> None:
        """A command whose answer is OK. Raises `FaultError` for any other one."""
        answer = await self.ask(command)
        if answer != "OK":
            raise FaultError(f"hostapd refused {command.split()[0]}: {answer[:100] or 'no word'}")

    async def ask(self, command: str) -> str:
        """Send one command: the answer, without its line end. Raises `FaultError`."""
        async with self._lock:
            if self._socket is None:
                raise FaultError(f"the connection to {self.path} is closed")
            try:
                self._socket.send(command.encode())
                async with asyncio.timeout(ANSWER_S):
                    return await self._answers.get()
            except TimeoutError as error:
                raise FaultError(f"hostapd at {self.path} does not answer") from error
            except OSError as error:
                raise FaultError(f"hostapd at {self.path} is gone: {error.strerror}") from error

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            text = self._socket.recv(_LARGEST).decode(errors="replace").rstrip("\n")
        except OSError:
            return
        level = re.match(r"<\d+>", text)
        queue, text = (self.events, text[level.end() :]) if level else (self._answers, text)
        if level:
            word, _, rest = text.partition(" ")
            self.counts[word] += 1
            if word == "AP-STA-DISCONNECTED":
                self.gone[rest.strip().lower()] += 1
            if word == "AP-STA-CONNECTED":
                self.joined[rest.strip().lower()[:17]] += 1
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(text)

    def close(self) -> None:
        """Disconnect; idempotent."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


async def put_back(change: AccessPoint) -> bool:
    """Put an access point on the air, or its channel, as it was; False: it is so already.

    Raises `FaultError`.
    """
    if change.hotspot is not None:
        await Hotspot(change.hotspot).enable()
        return True
    if change.hostapd is None or not os.path.exists(change.hostapd):  # noqa: PTH110, ASYNC240
        return False  # hostapd is gone, and its changes with it
    async with Hostapd(Path(change.hostapd)) as hostapd:
        on, mhz = await hostapd.state()
        if change.mhz is None and not on:
            await hostapd.enable()
        elif change.mhz is not None and mhz != change.mhz:
            await hostapd.switch_channel(change.mhz)
        else:
            return False
    return True


class Hotspot:
    """A hotspot that NetworkManager keeps, by the name of its connection."""

    def __init__(self, connection: str, *, command: Sequence[str] = ("nmcli",)) -> None:
        if not connection or connection.startswith("-"):
            raise FaultError(f"'{connection}' is no name of a connection")
        self.connection = connection
        self._command = tuple(command)

    async def disable(self) -> None:
        """Take it off the air. Raises `FaultError`."""
        await self._check()
        await self._run("--wait", "20", "connection", "down", "id", self.connection)

    async def enable(self) -> None:
        """Put it on the air again. Raises `FaultError`."""
        await self._check()
        await self._run("--wait", "20", "connection", "up", "id", self.connection)

    async def _check(self) -> None:
        """Whoever names it, in a bench or a journal, switches no other connection of this host."""
        key = "802-11-wireless.mode"
        mode = await self._run("-g", key, "connection", "show", "id", self.connection)
        if mode.strip() != "ap":
            raise FaultError(
                f"'{self.connection}' is no hotspot of NetworkManager's: its {key} is "
                f"'{mode.strip()}', not 'ap'"
            )

    async def _run(self, *arguments: str) -> str:
        words = [*self._command, *arguments]
        return await tools.run(words, hint="sudo apt install network-manager")


def _mac(text: str) -> str:
    if _MAC.fullmatch(text) is None:
        raise FaultError(f"'{text}' is no link address", hint="six pairs of hexadecimal digits")
    return text.lower()


def deauthentication(station: str, bssid: str, reason: int) -> bytes:
    """A deauthentication frame in an access point's name, with a radiotap header before it.

    IEEE 802.11-2020, 9.3.3.12: management frame of subtype 12, whose body is the reason code. Only
    the air helper calls this: scapy lives there.
    """
    from scapy.layers.dot11 import Dot11, Dot11Deauth, RadioTap

    head = Dot11(type=0, subtype=12, addr1=_mac(station), addr2=_mac(bssid), addr3=_mac(bssid))
    return bytes(RadioTap() / head / Dot11Deauth(reason=reason))
