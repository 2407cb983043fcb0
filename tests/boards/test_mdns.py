"""Devices that announce themselves, on loopback with real mDNS; what they announce is untrusted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from rig.boards import mdns
from rig.boards.base import Address
from rig.boards.bench import parse_bench
from rig.boards.plain import PlainBoard, PlainSettings
from rig.commands import discover
from rig.errors import BenchError, BoardError

LAB = IPv4Network("192.168.1.0/24")


@pytest.fixture
async def announce(anyio_backend: str, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Announces a device on loopback, by a name that no other test has."""
    zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)

    async def announce(
        name: str, *, address: str = "127.0.0.1", port: int = 8928, **properties: Any
    ) -> None:
        info = AsyncServiceInfo(
            mdns.DEVICES,
            f"{name}.{mdns.DEVICES}",
            server=f"{name}.local.",
            parsed_addresses=[address],
            port=port,
            properties=properties or {"path": "/sendspin"},
        )
        await (await zeroconf.async_register_service(info))

    yield announce
    await zeroconf.async_close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_device_is_found_by_its_name(announce, tmp_path: Path) -> None:
    name = f"kitchen-{tmp_path.parent.name}-{id(tmp_path)}"[-60:]
    await announce(name, port=8929, path="/its/own")
    assert await mdns.find(name, "lo") == Address("127.0.0.1", 8929, "/its/own")
    board = PlainBoard("k", PlainSettings(address=f"mdns:{name}@127.0.0.1"))
    assert board.address is None
    assert await board.find() == board.address == Address("127.0.0.1", 8929, "/its/own")


@pytest.mark.anyio
async def test_who_is_not_there_is_named_with_those_who_are_and_the_junk(
    announce, tmp_path: Path
) -> None:
    mark = f"{id(tmp_path)}"
    await announce(f"hall-{mark}")
    await announce(f"evil-{mark}", address="8.8.8.8")
    with pytest.raises(BoardError) as told:
        await mdns.find("nobody", "lo", seconds=1.5)
    assert "'nobody'" in told.value.message
    assert f"hall-{mark}" in told.value.message
    assert f"evil-{mark}: its address (8.8.8.8) is not in 127.0.0.0/8" in told.value.message
    assert "rig discover lo" in (told.value.hint or "")


@pytest.mark.anyio
async def test_a_server_announces_itself_meanwhile(announce, tmp_path: Path) -> None:
    name = f"rig-{id(tmp_path)}"
    async with (
        mdns.announced(name, "lo", 8927),
        AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only) as seen,
    ):
        info = AsyncServiceInfo(mdns.SERVERS, f"{name}.{mdns.SERVERS}")
        assert await info.async_request(seen.zeroconf, 5_000)
    assert (info.port, info.properties[b"path"]) == (8927, b"/sendspin")
    assert info.parsed_addresses() == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("addresses", "port", "path", "junk"),
    [
        (["10.0.0.1"], 8928, b"/s", "10.0.0.1"),
        ([], 8928, b"/s", "none"),
        (["fe80::1"], 8928, b"/s", "fe80::1"),
        (["192.168.1.4"], 0, b"/s", "port is 0"),
        (["192.168.1.4"], None, b"/s", "port is None"),
        (["192.168.1.4"], 8928, None, "path"),
        (["192.168.1.4"], 8928, b"sendspin", "path"),
        (["192.168.1.4"], 8928, b"/a b\r\nHost: x", "path"),
        (["192.168.1.4"], 8928, b"/" + b"x" * 300, "path"),
        (["192.168.1.4"], 8928, b"\xff\xfe", "path"),
    ],
)
def test_junk_is_named(addresses, port, path, junk: str) -> None:
    told = mdns.judged("x", addresses, port, path, LAB)
    assert told.address is None
    assert junk in told.junk
    assert told.junk.isprintable()


@given(
    st.lists(st.text(max_size=60), max_size=5),
    st.one_of(st.none(), st.integers()),
    st.one_of(st.none(), st.binary(max_size=400)),
)
def test_whatever_is_announced_is_an_address_in_the_network_or_junk(addresses, port, path) -> None:
    told = mdns.judged("x", addresses, port, path, LAB)
    assert (told.address is None) == bool(told.junk)


def test_an_interface_that_is_none_is_named_with_those_there_are() -> None:
    with pytest.raises(BenchError, match="nosuch0") as told:
        mdns.local_address("nosuch0")
    assert "lo (127.0.0.1)" in (told.value.hint or "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", "mdns:kitchen"),
        ("address", "mdns:@eth0"),
        ("dials", ":8927"),
        ("dials", "eth0:http"),
        ("dials", "eth0:99999"),
    ],
)
def test_a_bench_that_does_not_say_where_is_wrong(key: str, value: str) -> None:
    with pytest.raises(BenchError, match=r"b\.toml:2:1: " + key):
        parse_bench(f'[boards.k]\n{key} = "{value}"\n'.encode(), Path("b.toml"))


@pytest.mark.anyio
async def test_the_command_lists_them(announce, tmp_path: Path) -> None:
    import anyio.to_thread

    name = f"attic-{id(tmp_path)}"
    await announce(name)

    def listed() -> Any:
        return CliRunner().invoke(discover.command, ["lo", "--for", "1.5", "--json"])

    done = await anyio.to_thread.run_sync(listed)
    told = [json.loads(line) for line in done.output.splitlines()]
    assert {"name": name, "address": "ws://127.0.0.1:8928/sendspin", "junk": None} in told
