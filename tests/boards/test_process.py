"""A program as a board: its output is the console, its life the power."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from rig.boards.bench import parse_bench
from rig.boards.booting import attach_console, boot_board
from rig.boards.process import ProcessBoard, ProcessSettings
from rig.errors import BenchError, BoardError
from rig.history import HistoryStore
from rig.history.events import LogLine

pytestmark = pytest.mark.anyio
ECHO = (
    "import os,subprocess,sys;"
    "child=subprocess.Popen(['sleep','60']);"
    "print('up',os.getpid(),child.pid,flush=True);"
    "[print('heard',line.strip(),flush=True) for line in sys.stdin];"
    "sys.stdin.read()"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path))


def board(command: str, **more: str) -> ProcessBoard:
    return ProcessBoard("program", ProcessSettings(command, "127.0.0.1:1", **more))


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


class Heard:
    """The console of a board in a history."""

    def __init__(self, store: HistoryStore) -> None:
        self.watch = store.watch(lambda event: isinstance(event, LogLine), bound=100)

    async def line(self, start: str) -> list[str]:
        found = await self.watch.next(
            LogLine, timeout=20, where=lambda event: event.text.startswith(start)
        )
        assert found is not None, f"no line that begins with {start!r}"
        return found[1].text.split()


async def test_its_output_is_the_console_and_it_ends_with_all_it_started(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path / "history.jsonl")
    heard = Heard(store)
    program = board(f'{sys.executable} -c "{ECHO}"', talk="say {n}\n")
    with heard.watch:
        async with program, attach_console(program, store):
            _, pid, child = await heard.line("up")
            assert await program.talk(3)
            assert await heard.line("heard say 3")
            await program.reset()  # the first one is the start itself
            assert running(int(pid))
            await program.reset()
            again = await heard.line("up")
            assert again[1] != pid
            assert not running(int(pid))
            assert not running(int(child))
        assert not running(int(again[1]))
        assert not running(int(again[2]))
    store.close()


async def test_a_program_that_ends_by_itself_says_so_and_is_started_again_as_a_board_reboots(
    tmp_path: Path,
) -> None:
    store = HistoryStore(tmp_path / "history.jsonl")
    heard = Heard(store)
    with heard.watch:
        async with board("kill -SEGV $$") as program, attach_console(program, store):
            for _ in range(2):
                assert (await heard.line("process ended"))[2:4] == ["by", "SIGSEGV"]
            assert program.can_reset
    store.close()


async def test_one_that_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path / "history.jsonl")
    heard = Heard(store)
    with heard.watch:
        stubborn = board("trap '' TERM; echo up $$; while :; do sleep 0.1; done")
        async with stubborn, attach_console(stubborn, store):
            _, pid = await heard.line("up")
        assert not running(int(pid))
    store.close()


async def test_a_missing_program_is_an_error_that_names_it() -> None:
    with pytest.raises(BoardError, match="no-such-program") as error:
        async with board("no-such-program --port 1"):
            pass
    assert "PATH" in (error.value.hint or "")


async def test_it_is_booted_when_its_port_answers(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path / "history.jsonl")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    program = ProcessBoard("program", ProcessSettings("sleep 60", f"127.0.0.1:{port}"))
    async with server, program, attach_console(program, store):
        booted = await boot_board(program, store, timeout=20)
    assert booted.address is not None
    store.close()


def test_its_pipe_is_gone_with_it(tmp_path: Path) -> None:
    async def life() -> str:
        async with board("sleep 60") as program:
            assert program.console_url is not None
            return program.console_url

    assert not Path(asyncio.run(life())).exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("command = ''\naddress = 'a:1'", "command: expected what to run"),
        ("command = \"'\"\naddress = 'a:1'", "is no command"),
        ("command = 'x'\naddress = 'a:b'", "is no address"),
        ("command = 'x'\naddress = 'a:1'\ntalk = 'talk'", "talk: no {n} in it"),
        ("address = 'a:1'", "command"),
    ],
)
def test_wrong_settings_name_the_key(table: str, message: str) -> None:
    text = f"[boards.x]\nkind = 'process'\n{table}\n"
    with pytest.raises(BenchError, match=message):
        parse_bench(text.encode(), Path("bench.toml"))


def test_a_bench_may_require_a_generation() -> None:
    text = b"[boards.x]\naddress = 'a:1'\ngeneration = 'noise'\n"
    assert parse_bench(text, Path("b")).generation_of("x") == "noise"
    wrong = text.replace(b"noise", b"noisy")
    with pytest.raises(BenchError, match="b:3:1: no generation 'noisy'; did you mean 'noise'"):
        parse_bench(wrong, Path("b"))
