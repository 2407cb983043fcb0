"""aiosendspin's own client dials in: a client-initiated device that nobody here wrote."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from rig.boards import mdns
from rig.boards.plain import PlainBoard, PlainSettings
from rig.campaign.judge import judge
from rig.campaign.session import Session
from rig.checks import Verdict
from rig.history import History
from rig.history import events as ev
from rig.scenarios import get_scenario

pytestmark = pytest.mark.anyio


@pytest.fixture
async def dialling(anyio_backend: str, player: Any) -> AsyncIterator[Any]:
    """The player, dialling again and again to where the rig's server announces itself."""

    async def dial(where: asyncio.Future[str]) -> None:
        url = await where
        while True:
            with contextlib.suppress(Exception):
                await player.client.connect(url)
            while player.client.connected:  # noqa: ASYNC110 - it tells of no end
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)

    where: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(dial(where))
    yield where
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await player.client.disconnect()


async def _announced(port: int) -> str:
    """Where the server on this port says, by mDNS, that it is: others may announce one, too."""
    names: asyncio.Queue[str] = asyncio.Queue()

    def found(*, name: str, **_: Any) -> None:
        names.put_nowait(name)

    async with AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only) as zeroconf:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, mdns.SERVERS, handlers=[found])
        try:
            async with asyncio.timeout(20):
                while True:
                    info = AsyncServiceInfo(mdns.SERVERS, await names.get())
                    told = await info.async_request(zeroconf.zeroconf, 2_000)
                    if told and info.port == port:
                        path = info.properties[b"path"]
                        assert path is not None
                        return f"ws://{info.parsed_addresses()[0]}:{port}{path.decode()}"
        finally:
            await browser.async_cancel()


async def test_it_is_served_and_judged_like_any_other(
    tmp_path: Path, dialling: asyncio.Future[str]
) -> None:
    board = PlainBoard("player", PlainSettings(dials="lo:0"))
    out = tmp_path / "out"
    async with Session(board, out, server="reference", seconds=3) as session:
        await session.prepare()
        dialling.set_result(await _announced(session.new_link().address[1]))  # type: ignore[attr-defined]
        await session.play(get_scenario("rst-anywhere"), cycles=1)
        await session.play(get_scenario("conversation"), cycles=1)
        await session.play(get_scenario("two-servers"), cycles=1)
        session.outcome = "done"
    verdicts = {said.scenario: said for said in judge(out).scenarios}
    for name in ("rst-anywhere", "conversation"):
        failed = [check for check in verdicts[name].checks if check.verdict is Verdict.FAIL]
        assert not failed, failed
    dropped = {fault.fault: fault.seen for fault in verdicts["rst-anywhere"].faults}
    assert dropped["rst"] == 7
    assert verdicts["two-servers"].verdict is Verdict.INCONCLUSIVE
    assert "one connection at a time" in (verdicts["two-servers"].reason or "")
    history = History(out / "history.jsonl")
    assert {e.event.dialled_by for e in history.only(ev.ConnectionOpened)} == {"device"}
    inits = [e.event for e in history.only(ev.Frame) if e.event.type == "client/init"]
    assert {frame.sender for frame in inits} == {"device"}
    assert verdicts["conversation"].audio is not None
    assert verdicts["conversation"].audio.chunks > 5
