"""`rig serve`, the whole program, for a device that dials: aiosendspin's own client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rig.history import History
from rig.history import events as ev

pytestmark = pytest.mark.anyio


class Serving:
    """The program on a terminal of its own, so that it can ask."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.errors = ""
        self._terminal = -1
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self, *words: str) -> None:
        bench = f'[boards.kit]\nkind = "plain"\ndials = "lo:{self.port}"\n'
        (self.folder / "bench.toml").write_text(bench)
        self._terminal, end = pty.openpty()
        env = {**os.environ, "SENDSPIN_RIG_HOME": str(self.folder / "home"), "NO_COLOR": "1"}
        env["SENDSPIN_RIG_LOCKS"] = str(self.folder / "locks")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rig", "serve", "kit", "--out", "run", *words,
            cwd=self.folder, env=env, stdin=end, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        os.close(end)
        self._tasks.append(asyncio.create_task(self._hear()))

    async def _hear(self) -> None:
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(4096):
            self.errors += data.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode() + b"\n")

    async def end(self) -> int:
        """Ctrl-C, and its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        await asyncio.gather(*self._tasks)
        await self.process.wait()
        os.close(self._terminal)
        return int(self.process.returncode or 0)


@pytest.fixture
async def serving(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Serving]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serving = Serving(tmp_path, port)
    yield serving
    if serving.process.returncode is None:
        serving.process.kill()
        await serving.process.wait()
        print(serving.errors)  # noqa: T201 - shown where the test fails


@pytest.fixture
async def dialling(serving: Serving, player: Any) -> AsyncIterator[Any]:
    """The player, dialling the port until someone answers, and again when it is alone."""

    async def dial() -> None:
        while True:
            with contextlib.suppress(Exception):
                await player.client.connect(f"ws://127.0.0.1:{serving.port}/sendspin")
            while player.client.connected:  # noqa: ASYNC110 - it tells of no end
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(dial())
    yield player
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await player.client.disconnect()


async def test_a_device_that_dials_is_played_to_until_ctrl_c(
    serving: Serving, dialling: Any
) -> None:
    await serving.start("--tone", "440", "--volume", "21", "--title", "Song")
    async with asyncio.timeout(40):
        _when, pcm, *_ = await dialling.heard.get()
    assert any(pcm)
    assert await serving.end() == 0, serving.errors
    history = History(serving.folder / "run" / "history.jsonl")
    assert {e.event.dialled_by for e in history.only(ev.ConnectionOpened)} == {"device"}
    (chosen, *_) = history.only(ev.FormatChosen)
    assert chosen.event.given.startswith("pcm 48000 Hz")
    commands = [e.event.text for e in history.only(ev.Frame) if e.event.type == "server/command"]
    assert any('"volume":21' in text for text in commands)
    (ended,) = history.only(ev.RunEnded)
    assert ended.event.outcome == "done"


async def test_it_is_paired_by_the_code_that_it_shows(serving: Serving, dialling: Any) -> None:
    await serving.start("--pair", "shown")
    async with asyncio.timeout(40):
        while "pairing code" not in serving.errors:
            dialling.client.open_pairing_window()
            await asyncio.sleep(0.05)
        code = await dialling.shown.get()
        serving.type(code)
        while "paired" not in serving.errors:  # noqa: ASYNC110 - another process's words
            await asyncio.sleep(0.05)
    assert await serving.end() == 0, serving.errors
    assert "-- paired" in serving.errors
    told = (serving.folder / "run" / "history.jsonl").read_text() + serving.errors
    assert code not in told
    pairs = next((serving.folder / "home").rglob("pairs.json"))
    assert pairs.stat().st_mode & 0o077 == 0
