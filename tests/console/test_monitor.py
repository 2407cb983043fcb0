"""`rig monitor` as a user runs it: a process of its own, on ptys."""

from __future__ import annotations

import contextlib
import os
import pty as ptys
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.console.conftest import Pty

PATIENCE_S = 40.0
RIG = (sys.executable, "-m", "rig", "monitor")
LINES = b"\x1b[0;31mE (5) wifi: bad\x1b[0m\r\nI (6) main: fine\r\n"


class Monitor:
    """A running `rig monitor`, with what it printed so far."""

    def __init__(self, *args: str, stdin: int = subprocess.DEVNULL, tty: bool = False) -> None:
        self._read, out = ptys.openpty() if tty else os.pipe()
        self.process = subprocess.Popen(
            [*RIG, *args], stdin=stdin, stdout=out, stderr=subprocess.STDOUT
        )
        os.close(out)
        self.printed = b""

    def until(self, wanted: bytes) -> None:
        """Read on until `wanted` was printed."""
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.printed:
            left = deadline - time.monotonic()
            assert left > 0, self.printed
            assert select.select([self._read], [], [], left)[0], self.printed
            data = os.read(self._read, 65536)
            assert data, self.printed
            self.printed += data

    def ends(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it, if it runs."""
        with contextlib.suppress(OSError):
            os.close(self._read)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def monitor() -> Iterator[Callable[..., Monitor]]:
    """Starts monitors; what still runs at the end is ended."""
    with contextlib.ExitStack() as stack:

        def start(*args: str, **options: int) -> Monitor:
            return stack.enter_context(contextlib.closing(Monitor(*args, **options)))

        yield start


def test_in_a_pipe_it_is_plain_text_and_ctrl_c_ends_it(
    pty: Pty, monitor: Callable[..., Monitor], tmp_path: Path
) -> None:
    found = monitor(pty.path, "--log", str(tmp_path / "all.log"), "--filter", "wifi:E")
    found.until(b"Ctrl-C leaves\n")
    pty.prints(LINES)
    pty.prints(b"done\r\n")
    found.until(b"done\n")
    assert found.printed.splitlines()[1:] == [b"E (5) wifi: bad", b"done"]
    found.process.send_signal(signal.SIGINT)
    assert found.ends() == 130
    assert (tmp_path / "all.log").read_bytes() == LINES + b"done\r\n"


def test_a_board_that_waits_in_download_mode_is_said_to(
    pty: Pty, monitor: Callable[..., Monitor]
) -> None:
    found = monitor(pty.path)
    found.until(b"Ctrl-C leaves\n")
    pty.prints(b"rst:0x1 (POWERON),boot:0x2 (UART0_BOOT)\r\nwaiting for download\r\n")
    found.until(b"-- it waits in download mode and runs no firmware; `rig reset` boots it\n")


def test_on_a_terminal_keys_go_to_the_board_and_ctrl_bracket_leaves(
    pty: Pty, new_pty: Callable[[], Pty], monitor: Callable[..., Monitor]
) -> None:
    terminal = new_pty()
    before = termios.tcgetattr(terminal.slave)
    found = monitor(pty.path, stdin=terminal.slave, tty=True)
    found.until(b"Ctrl-] leaves")
    pty.prints(LINES)
    found.until(b"\x1b[31mE (5) wifi: bad\x1b[0m")
    terminal.prints(b"talk 3\n")
    os.set_blocking(pty.master, True)
    assert os.read(pty.master, 100) == b"talk 3\n"
    terminal.prints(b"\x1d")
    assert found.ends() == 0
    assert termios.tcgetattr(terminal.slave) == before


def test_it_goes_on_when_the_port_comes_back(
    new_pty: Callable[[], Pty], monitor: Callable[..., Monitor], tmp_path: Path
) -> None:
    first, second, port = new_pty(), new_pty(), tmp_path / "uart"
    port.symlink_to(first.path)
    found = monitor(str(port))
    found.until(b"leaves\n")
    port.unlink()
    first.unplug()
    found.until(b"is gone")
    port.symlink_to(second.path)
    found.until(b"is back\n")
    second.prints(b"here again\r\n")
    found.until(b"here again\n")
    found.process.terminate()
    assert found.ends() == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["virtul"], ["virtul", "did you mean 'virtual'"]),
        (["/dev/not-there"], ["/dev/not-there", "plugged in"]),
        (["socket://nowhere"], ["socket://nowhere", "HOST:PORT"]),
        (["virtual", "--filter", "wifi:X"], ["wifi:X", "tag:level"]),
        (["virtual", "--log", "/not/there.log"], ["/not/there.log", "--log"]),
    ],
)
def test_wrong_use_is_one_clear_error(args: list[str], words: list[str]) -> None:
    done = subprocess.run([*RIG, *args], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == (3 if args == ["/dev/not-there"] else 2)
    assert all(word in done.stderr for word in words)
    assert "Traceback" not in done.stderr
