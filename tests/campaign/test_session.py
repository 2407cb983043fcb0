"""A session on a double of a device, a program with a log file: when it crashes, and where."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from rig.boards.plain import PlainBoard, PlainSettings
from rig.campaign.judge import judge
from rig.campaign.session import Session
from rig.checks import Verdict
from rig.errors import HistoryError
from rig.history.events import Note
from rig.scenarios import Stage, get_scenario

pytestmark = pytest.mark.anyio

CRASH = """==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x1 at pc 0x2 bp 0x3 sp 0x4
READ of size 4 at 0x1 thread T1
    #0 0x2 in async_send_time_text server_connection.cpp:42
SUMMARY: AddressSanitizer: heap-use-after-free server_connection.cpp:42 in async_send_time_text
==7==ABORTING
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Program:
    """The double: it greets and tells its state.

    On its n-th connection it prints a crash and is gone, for a moment.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.log.touch()
        self.crashes_on = 0
        self.seen = 0
        self.port = 0
        self._server: Server | None = None
        self._again: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._server = await serve(self.serve, "127.0.0.1", self.port)
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        if self._again is not None:
            await self._again
        if self._server is not None:
            self._server.close()

    async def _die(self) -> None:
        with self.log.open("a") as log:
            log.write(CRASH)
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        await asyncio.sleep(0.5)  # as long as the program takes to be started again
        await self.start()

    async def serve(self, connection: ServerConnection) -> None:
        self.seen += 1
        if self.seen == self.crashes_on:
            self._again = asyncio.get_running_loop().create_task(self._die())
            return
        try:
            await self._say(connection, "client/hello", client_id="double", version=1)
            async for text in connection:
                if text and json.loads(text)["type"] in ("server/hello", "server/command"):
                    await self._say(connection, "client/state", player={"volume": 1})
        except ConnectionClosed:
            pass

    async def _say(self, connection: ServerConnection, kind: str, **payload: Any) -> None:
        await connection.send(json.dumps({"type": kind, "payload": payload}))


@pytest.fixture
async def program(tmp_path: Path, anyio_backend: str) -> AsyncIterator[tuple[Program, PlainBoard]]:
    double = Program(tmp_path / "log")
    await double.start()
    settings = PlainSettings(console=str(double.log), address=f"127.0.0.1:{double.port}")
    yield double, PlainBoard("double", settings)
    await double.stop()


async def played(board: PlainBoard, out: Path, *names: str) -> Any:
    async with Session(board, out) as session:
        await session.prepare()
        for name in names:
            await session.play(get_scenario(name), cycles=1)
        session.outcome = "done"
    return judge(out)


async def test_a_crash_while_the_device_is_learned_is_one_of_the_scenario(program, tmp_path):
    double, board = program
    double.crashes_on = 3
    verdict = await played(board, tmp_path / "out", "two-servers")
    (told,) = verdict.scenarios
    assert told.verdict is Verdict.FAIL
    assert [check.check for check in told.checks if check.verdict is Verdict.FAIL] == ["no_crash"]


async def test_the_next_scenario_is_played_on_the_board_that_came_back(program, tmp_path):
    double, board = program
    double.crashes_on = 3
    verdict = await played(board, tmp_path / "out", "two-servers", "two-servers")
    assert [told.verdict for told in verdict.scenarios] == [Verdict.FAIL, Verdict.PASS]


@pytest.mark.parametrize("filled_by", ["console", "history"])
async def test_a_disk_that_fills_up_ends_the_run_at_once_and_never_in_a_pass(
    program, tmp_path, monkeypatch, filled_by
):
    """Not at the scenario's end: the rig would be deaf until then."""
    double, board = program

    async def play(stage: Stage) -> None:
        monkeypatch.setattr("rig.history.room.KEEP_FREE", 1 << 62)
        monkeypatch.setattr("rig.history.room.KEEP_SHARE", 1.0)
        monkeypatch.setattr("rig.history.room.EVERY_S", 0.0)
        if filled_by == "console":
            with double.log.open("a") as log:
                log.write("A" * 100)
        else:
            with pytest.raises(HistoryError):  # as where a task of the link meets it, and dies
                stage.history.append(Note(t=1, text="lost"))
        await asyncio.Event().wait()

    endless = replace(get_scenario("two-servers"), name="endless", play=play)

    async def run() -> None:
        async with Session(board, tmp_path / "out") as session:
            await session.prepare()
            await session.play(endless, cycles=1, timeout=20)

    with pytest.raises(HistoryError, match="nearly full"):
        await run()
    verdict = judge(tmp_path / "out")
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "nearly full" in (verdict.reason or "")


async def test_a_log_that_could_not_be_kept_at_the_very_end_is_no_pass(program, tmp_path):
    _, board = program
    out = tmp_path / "out"

    async def run() -> None:
        async with Session(board, out) as session:
            await session.prepare()
            await session.play(get_scenario("two-servers"), cycles=1)
            assert session.console is not None
            session.console._fail(HistoryError("on purpose"))
            session.outcome = "done"

    with pytest.raises(HistoryError, match="on purpose"):
        await run()
    assert judge(out).verdict is Verdict.INCONCLUSIVE
