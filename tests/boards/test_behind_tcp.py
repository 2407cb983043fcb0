"""A chip behind a TCP port that commands reset, as an emulator of a real ROM has it."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import cli
from tests.boards import tcp_front

FRONT = Path(__file__).with_name("tcp_front.py")
BUNDLE = Path(__file__).parents[2] / "fixtures" / "firmware" / "v0.7.0"
Capsys = pytest.CaptureFixture[str]


class Machine:
    """The emulated machine of a test: where it lives, and its bench table."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def command(self, what: str, *options: str) -> str:
        """What restarts it."""
        words = [sys.executable, str(FRONT), what, str(self.home), str(self.port), *options]
        return " ".join(words)

    def wait(self) -> None:
        """Until its port is there: whoever takes it first and leaves again is no harm."""
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return

    def bench(self, run: str, download: str) -> None:
        """Describe it, with these commands as its resets."""
        url = f"socket://127.0.0.1:{self.port}"
        Path("bench.toml").write_text(
            f'[boards.emu]\nconsole = "{url}"\nflash = "{url}"\n'
            f'reset = {{ run = "{run}" }}\nreset_download = {{ run = "{download}" }}\n'
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SENDSPIN_RIG_BENCH", raising=False)
    monkeypatch.chdir(tmp_path)
    machine = Machine(tmp_path / "home" / "virtual-1")
    try:
        yield machine
    finally:
        tcp_front.stop(machine.home)
        cli.run(["unplug", "virtual"])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="the machine is off before, and starts anew with each reset"),
        pytest.param(
            ("--keep",), id="the chip alone is reset, the port stays", marks=pytest.mark.long
        ),
        pytest.param(("--slow", "1"), id="the command is slow", marks=pytest.mark.long),
        pytest.param(("--after", "0.5"), id="the command returns before anything has happened"),
        pytest.param(
            ("--keep", "--after", "0.5"),
            id="the chip is reset while it is asked",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_chip_that_is_reset_by_commands_is_flashed_and_boots(
    machine: Machine, capsys: Capsys, options: tuple[str, ...]
) -> None:
    machine.bench(machine.command("run", *options), machine.command("download", *options))
    if "--keep" in options:
        subprocess.run(machine.command("run").split(), check=True)

    assert cli.run(["flash", "emu", str(BUNDLE), "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert (report["verified"], report["booted"]) == (4, True)


def test_a_chip_already_in_its_loader_is_flashed_also_with_a_stub_left_running(
    machine: Machine, capsys: Capsys
) -> None:
    machine.bench("true", "true")  # nothing resets it: it waits in its loader, or in the stub
    subprocess.run(machine.command("download").split(), check=True)
    machine.wait()
    assert cli.run(["read-flash", "emu", "first.bin", "--size", "4096"]) == 0
    capsys.readouterr()

    assert cli.run(["flash", "emu", str(BUNDLE), "--no-boot"]) == 0

    said = capsys.readouterr()
    assert "a stub was left running" in said.err
    assert "4 verified" in said.out
