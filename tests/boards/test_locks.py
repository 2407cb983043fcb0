"""Locks on boards: across processes, after kill -9, waiting, any of several."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rig.boards.lock_file import LockFile, held_locks, lock_folder, remove_stale
from rig.boards.locks import BoardHeld, check_free, held, held_any, holder_of, things
from rig.boards.plain import PlainBoard, PlainSettings
from rig.errors import BoardError

HOLD = """
import sys
from rig.boards.lock_file import LockFile
lock = LockFile(sys.argv[1])
assert lock.acquire("another test") is None
print("held", flush=True)
sys.stdin.read()
lock.release()
"""

ASK = """
import asyncio, os, sys
from pathlib import Path
from rig.boards.locks import held_any
from rig.boards.plain import PlainBoard, PlainSettings

async def ask(out, turns):
    boards = [PlainBoard(f"b{n}", PlainSettings(console=f"socket://bench:{n}")) for n in range(4)]
    for _ in range(turns):
        async with held_any(boards, "a worker") as board:
            mark = out / board.name
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))   # FileExistsError: held twice
            await asyncio.sleep(0)
            mark.unlink()

asyncio.run(ask(Path(sys.argv[1]), int(sys.argv[2])))
"""


MORTAL = """
import asyncio, os, sys, time
from pathlib import Path
from rig.boards.locks import held_any
from rig.boards.plain import PlainBoard, PlainSettings

def dead(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True

async def ask(out, turns):
    boards = [PlainBoard(f"b{n}", PlainSettings(console=f"socket://bench:{n}")) for n in range(2)]
    for _ in range(turns):
        async with held_any(boards, "a worker") as board:
            mark = out / board.name
            if mark.exists():                            # left by a killed holder, or held twice
                pid, until = mark.read_text(), time.monotonic() + 5
                while not dead(pid):                     # its lock goes before it is all gone
                    assert time.monotonic() < until, f"{board.name} is held by {pid} as well"
            mark.write_text(str(os.getpid()))
            if turns == 1:                               # it is to be killed while it holds one
                print(board.name, flush=True)
                sys.stdin.read()
            await asyncio.sleep(0)
            assert mark.read_text() == str(os.getpid()), f"{board.name} was taken from a holder"
            mark.unlink()

asyncio.run(ask(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(tmp_path / "locks"))
    return tmp_path / "locks"


def board(console: str = "socket://bench:1", name: str = "kit") -> PlainBoard:
    return PlainBoard(name, PlainSettings(console=console))


def holding(what: str) -> subprocess.Popen[str]:
    """Another process that holds `what` until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def hold(device: PlainBoard, *, wait: bool = False) -> None:
    async def run() -> None:
        async with held(device, "this test", wait=wait):
            pass

    asyncio.run(run())


def test_a_board_is_held_by_one_and_free_again_with_no_file_left(folder: Path) -> None:
    async def run() -> None:
        async with held(board(), "this test"):
            holder = holder_of(board())
            assert holder is not None
            assert (holder.pid, holder.purpose) == (os.getpid(), "this test")
            assert [found.what for found in held_locks()] == ["socket://bench:1"]
            with pytest.raises(BoardHeld):
                async with held(board(), "again"):
                    pass

    asyncio.run(run())
    assert holder_of(board()) is None
    assert list(folder.iterdir()) == []


def test_whoever_holds_it_is_named_with_pid_purpose_and_time() -> None:
    with holding("socket://bench:1") as other:
        with pytest.raises(BoardHeld) as caught:
            hold(board())
        other.kill()
    assert f"'kit' is held by another test (pid {other.pid}) since " in caught.value.message
    assert "--wait" in str(caught.value.hint)


def test_a_killed_holders_board_is_free_at_once(folder: Path) -> None:
    with holding("socket://bench:1") as other:
        other.kill()
    assert len(list(folder.iterdir())) == 1
    assert holder_of(board()) is None
    hold(board())
    assert list(folder.iterdir()) == []


def test_what_a_killed_holder_left_is_seen_and_removed(folder: Path) -> None:
    with holding("socket://bench:1") as other:
        other.kill()
    with holding("socket://bench:2") as alive:
        assert [left.pid for left in remove_stale()] == [other.pid]
        assert [found.pid for found in held_locks()] == [alive.pid]
        alive.communicate()
    assert list(folder.iterdir()) == []


def test_waiting_ends_when_the_holder_lets_go() -> None:
    with holding("socket://bench:1") as other:
        assert other.stdin is not None
        heard = []

        async def run() -> None:
            def on_wait(holder: object) -> None:
                heard.append(str(holder))
                other.stdin.close()  # type: ignore[union-attr]

            async with held(board(), "this test", wait=True, on_wait=on_wait):
                pass

        asyncio.run(run())
        other.stdin = None
    assert "another test" in heard[0]


def test_waiting_ends_when_the_holder_is_killed() -> None:
    with holding("socket://bench:1") as other:

        async def run() -> None:
            kill = lambda _holder: other.send_signal(signal.SIGKILL)  # noqa: E731
            async with held(board(), "this test", wait=True, on_wait=kill):
                pass

        asyncio.run(run())


def test_a_wait_can_be_given_up_and_leaves_nothing(folder: Path) -> None:
    lock = LockFile("socket://bench:1")
    assert lock.acquire("first") is None

    async def run() -> None:
        async with asyncio.timeout(0.05), held(board(), "this test", wait=True):
            raise AssertionError("it is held")

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    lock.release()
    for thread in threading.enumerate():
        if thread.name == "rig-lock":
            thread.join(10)
    assert list(folder.iterdir()) == []


def test_of_several_boards_the_free_one_is_taken() -> None:
    first, second = board("socket://bench:1", "one"), board("socket://bench:2", "two")

    async def run() -> str:
        async with held(first, "this test"), held_any([first, second], "this test") as taken:
            return taken.name

    assert asyncio.run(run()) == "two"


def test_no_boards_to_choose_from_is_an_error() -> None:
    async def run() -> None:
        async with held_any([], "this test"):
            pass

    with pytest.raises(BoardError, match="no board to choose from"):
        asyncio.run(run())


def test_sixteen_processes_share_four_boards_and_never_hold_one_twice(
    tmp_path: Path, folder: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    workers = [
        subprocess.Popen([sys.executable, "-c", ASK, str(marks), "5"], stderr=subprocess.PIPE)
        for _ in range(16)
    ]
    said = [worker.communicate(timeout=55)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 16, said
    assert list(marks.iterdir()) == []
    assert list(held_locks()) == []
    assert list(folder.iterdir()) == []


def test_holders_that_are_killed_free_their_boards_and_no_other(
    tmp_path: Path, folder: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, "-c", MORTAL, str(marks)]
    mortals = [
        subprocess.Popen(
            [*command, "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    others = [subprocess.Popen([*command, "3"], stderr=subprocess.PIPE) for _ in range(3)]
    with selectors.DefaultSelector() as selector:
        for mortal in mortals:
            assert mortal.stdout is not None
            selector.register(mortal.stdout, selectors.EVENT_READ, mortal)
        while selector.get_map():
            for key, _ in selector.select():
                selector.unregister(key.fileobj)
                key.data.kill()
    said = [other.communicate(timeout=55)[1].decode() for other in others]
    dying = [mortal.communicate()[1].decode() for mortal in mortals]
    assert [mortal.returncode for mortal in mortals] == [-signal.SIGKILL] * 3, dying
    assert [other.returncode for other in others] == [0] * 3, said
    assert list(held_locks()) == []
    remove_stale()
    assert list(folder.iterdir()) == []


def test_two_names_for_one_port_are_one_board(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert things(board(str(tmp_path / "uart"))) == things(board(str(tmp_path / "link" / "uart")))
    assert things(board("socket://Bench:1")) == things(board("socket://bench:1/"))


def test_console_and_flash_port_are_both_held() -> None:
    device = PlainBoard("kit", PlainSettings(console="socket://a:1", flash="socket://a:2"))
    assert things(device) == ["socket://a:1", "socket://a:2"]


def test_a_board_with_an_address_only_is_held_by_it() -> None:
    device = PlainBoard("kit", PlainSettings(address="10.0.0.7"))
    assert things(device) == ["ws://10.0.0.7:8928/sendspin"]


def test_what_the_holder_starts_may_touch_the_board_and_nobody_else_may() -> None:
    touch = (
        "from rig.boards.locks import check_free\n"
        "from rig.boards.plain import PlainBoard, PlainSettings\n"
        "check_free(PlainBoard('kit', PlainSettings(console='socket://bench:1')))\n"
    )
    lock = LockFile("socket://bench:1")
    assert lock.acquire("the parent") is None
    subprocess.run([sys.executable, "-c", touch], check=True, timeout=50)
    lock.release()
    with holding("socket://bench:1") as other:
        with pytest.raises(BoardHeld):
            check_free(board())
        other.kill()


def test_a_lock_full_of_nonsense_is_a_lock(folder: Path) -> None:
    lock = LockFile("socket://bench:1")
    lock.path.write_bytes(b"\xff" * 10_000)
    hold(board())
    assert list(folder.iterdir()) == []


def test_a_trap_in_the_lock_folder_is_refused(folder: Path) -> None:
    lock = LockFile("socket://bench:1")
    lock.path.symlink_to("/etc/passwd")
    with pytest.raises(BoardError, match="cannot keep locks"):
        hold(board())


def test_a_folder_of_all_users_can_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SENDSPIN_RIG_LOCKS")
    monkeypatch.setattr("rig.boards.lock_file.FOLDERS", (tmp_path,))
    made = lock_folder()
    assert made.stat().st_mode & 0o7777 == 0o1777
    assert lock_folder() == made


def test_a_link_where_the_shared_folder_should_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SENDSPIN_RIG_LOCKS")
    monkeypatch.setattr("rig.boards.lock_file.FOLDERS", (tmp_path,))
    (tmp_path / "sendspin-rig").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BoardError, match="not a folder"):
        lock_folder()
