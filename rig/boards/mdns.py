"""Devices and servers announced by mDNS, on one chosen interface and no other.

What is announced is untrusted: a record may name any host. Only an IPv4 address in the interface's
own network is taken, with a port and a plain path; all else is junk, and is said to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network
from typing import Any, Final

from rig.boards.base import Address
from rig.console.printable import dotted
from rig.errors import BenchError, BoardError

DEVICES: Final = "_sendspin._tcp.local."
"""Devices that a server dials (Sendspin specification, connection)."""
SERVERS: Final = "_sendspin-server._tcp.local."
"""Servers that a device dials; port 8927."""
MOST: Final = 64
"""Records that are looked at in one search."""
NAME_BOUND: Final = 63
"""Bytes of an instance's name (RFC 6763, 4.1.1)."""
_ANSWER_MS: Final = 3_000
_PATH = re.compile(r"/[A-Za-z0-9_./~-]{0,199}")


@dataclass(frozen=True, slots=True)
class Announced:
    """A device that announces itself, or why its record is junk (`address` None)."""

    name: str
    address: Address | None = None
    junk: str = ""


def local_address(interface: str) -> IPv4Interface:
    """The IPv4 address (and network) of an interface, named by its name or by that address.

    Raises `BenchError` with the interfaces there are.
    """
    import ifaddr

    there = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if not isinstance(ip.ip, str):
                continue  # IPv6
            if interface in (adapter.nice_name, adapter.name, ip.ip):
                return IPv4Interface(f"{ip.ip}/{ip.network_prefix}")
            there.append(f"{adapter.nice_name} ({ip.ip})")
    raise BenchError(
        f"there is no interface '{interface}' with an IPv4 address here",
        hint=f"there are {', '.join(there[:10]) or 'none'}",
    )


async def devices(
    interface: str, *, seconds: float = 3.0, until: str | None = None
) -> list[Announced]:
    """The devices that announce themselves on `interface` within `seconds`, junk included.

    `until`: come back as soon as the device of this name is there. Raises `BenchError` for an
    interface that is none, `BoardError` where mDNS cannot be used on it.
    """
    here = local_address(interface)
    found: dict[str, Announced] = {}
    async with _zeroconf(here.ip) as zeroconf:
        from zeroconf import ServiceStateChange
        from zeroconf.asyncio import AsyncServiceBrowser

        names: asyncio.Queue[str] = asyncio.Queue(MOST)
        loop = asyncio.get_running_loop()

        def heard(name: str, state_change: ServiceStateChange, **_of: Any) -> None:
            if state_change is not ServiceStateChange.Removed:
                loop.call_soon_threadsafe(_offer, names, name)

        browser = AsyncServiceBrowser(zeroconf.zeroconf, DEVICES, handlers=[heard])
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while len(found) < MOST:
                        name = await names.get()
                        told = await _ask(zeroconf, name, here.network)
                        found[told.name] = told
                        if until is not None and told.name == until and told.address:
                            break
        finally:
            await browser.async_cancel()
    return sorted(found.values(), key=lambda told: told.name)


def _offer(names: asyncio.Queue[str], name: str) -> None:
    if not names.full():
        names.put_nowait(name)


async def _ask(zeroconf: Any, full: str, network: IPv4Network) -> Announced:
    from zeroconf.asyncio import AsyncServiceInfo

    name = full.removesuffix(f".{DEVICES}")
    if len(name.encode("utf-8", "replace")) > NAME_BOUND or not name.isprintable():
        return Announced(_shown(name), junk="its name is no name")
    info = AsyncServiceInfo(DEVICES, full)
    if not await info.async_request(zeroconf.zeroconf, _ANSWER_MS):
        return Announced(name, junk="it did not say where it is")
    path = (info.properties or {}).get(b"path")
    return judged(name, info.parsed_addresses(), info.port, path, network)


def judged(
    name: str, addresses: list[str], port: int | None, path: bytes | None, network: IPv4Network
) -> Announced:
    """What a record is worth: an address to dial, or the reason why it is junk."""
    host = next((each for each in addresses if _within(each, network)), None)
    if host is None:
        told = _shown(", ".join(addresses[:4])) or "none"
        return Announced(name, junk=f"its address ({told}) is not in {network}")
    if not port or not 1 <= port <= 65_535:
        return Announced(name, junk=f"its port is {port}")
    text = (path or b"").decode("utf-8", "replace")
    if path is None or not _PATH.fullmatch(text):
        return Announced(name, junk=f"its path is {_shown(text)!r}, not one like /sendspin")
    return Announced(name, Address(host, port, text))


def _within(text: str, network: IPv4Network) -> bool:
    try:
        address = IPv4Address(text)
    except (AddressValueError, ValueError):
        return False
    return address in network and not (address.is_multicast or address.is_unspecified)


def _shown(text: str) -> str:
    return dotted(text[:NAME_BOUND])


async def find(name: str, interface: str, *, seconds: float = 10.0) -> Address:
    """Where the device `name` is; `*`: the only one there.

    Raises `BoardError` that says who is there instead, and what was junk.
    """
    there = await devices(interface, seconds=seconds, until=None if name == "*" else name)
    sound = [each for each in there if each.address is not None]
    fits = sound if name == "*" else [each for each in sound if each.name == name]
    if len(fits) == 1 and fits[0].address is not None:
        return fits[0].address
    names = ", ".join(each.name for each in sound) or "nobody"
    junk = "; ".join(f"{each.name}: {each.junk}" for each in there if each.address is None)
    what = f"the device '{name}'" if name != "*" else "exactly one device"
    raise BoardError(
        f"expected {what} to announce itself on {interface} within {seconds:g} s, found {names}"
        + (f"; junk was announced by {junk}" if junk else ""),
        hint=f"rig discover {interface} lists them; or give its address in the bench file",
    )


@contextlib.asynccontextmanager
async def announced(
    name: str, interface: str, port: int, *, path: str = "/sendspin"
) -> AsyncIterator[None]:
    """Announce a server on `interface` meanwhile, so that devices dial it. Raises as `devices`."""
    here = local_address(interface)
    async with _zeroconf(here.ip) as zeroconf:
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(
            SERVERS,
            f"{name}.{SERVERS}",
            server=f"{name}.local.",
            parsed_addresses=[str(here.ip)],
            port=port,
            properties={"path": path, "name": name},
        )
        await (await zeroconf.async_register_service(info, allow_name_change=True))
        try:
            yield
        finally:
            await (await zeroconf.async_unregister_service(info))


@contextlib.asynccontextmanager
async def _zeroconf(ip: IPv4Address) -> AsyncIterator[Any]:
    from zeroconf import IPVersion
    from zeroconf.asyncio import AsyncZeroconf

    try:
        zeroconf = AsyncZeroconf(interfaces=[str(ip)], ip_version=IPVersion.V4Only)
    except OSError as error:
        raise BoardError(
            f"mDNS cannot be used on {ip}: {error.strerror or error}",
            hint="does UDP port 5353 belong to a service that does not share it?",
        ) from error
    try:
        yield zeroconf
    finally:
        await zeroconf.async_close()
