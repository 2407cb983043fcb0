"""The command line's front door: help, errors, exit codes, signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from rig import cli
from rig.errors import BenchError, BoardError, RigError

RIG = [sys.executable, "-m", "rig"]


def shell(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`rig ARGS` in a process of its own."""
    return subprocess.run(
        [*RIG, *args],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **env},
        check=False,
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Puts a command `try-it` into the table that does what it is told."""

    def install(body: Callable[[], object]) -> None:
        made = click.command(name="try-it")(body)
        monkeypatch.setattr("rig.commands.options.try_it", made, raising=False)
        entry = cli.Entry("rig.commands.options:try_it", "Try it.", "This machine")
        monkeypatch.setitem(cli.COMMANDS, "try-it", entry)

    return install


def raises(error: BaseException) -> Callable[[], object]:
    def body() -> object:
        raise error

    return body


def test_rig_alone_prints_its_help_and_is_no_error() -> None:
    done = shell()
    assert done.returncode == 0
    assert "Examples:" in done.stdout


def test_help_lists_every_command_that_is_here_with_its_line() -> None:
    said = shell("--help").stdout
    for name, entry in cli.COMMANDS.items():
        assert (f"  {name} " in said and entry.help in said) is cli.available(entry)


def test_help_loads_no_command() -> None:
    code = (
        "import sys, rig.cli; rig.cli.run(['--help'])\n"
        "print([name for name in sys.modules if name.startswith('rig.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['rig.errors', 'rig.cli']"


@pytest.mark.parametrize(
    "name", [name for name, entry in cli.COMMANDS.items() if cli.available(entry)]
)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == 0
    assert "Usage: rig" in capsys.readouterr().out


def test_a_command_whose_module_is_not_there_is_not_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "ghost", cli.Entry("rig.commands.ghost:command", "Boo.", "x"))
    assert cli.run(["--help"]) == 0
    assert "ghost" not in capsys.readouterr().out
    assert cli.run(["ghost"]) == 2


def test_a_misspelt_command_is_answered_with_the_nearest() -> None:
    done = shell("doctr")
    assert done.returncode == 2
    assert "No such command 'doctr'. Did you mean doctor" in done.stderr


def test_version_is_printed() -> None:
    assert shell("--version").stdout.startswith("rig ")


@pytest.mark.parametrize(
    ("error", "code"), [(RigError("x"), 3), (BenchError("x"), 2), (BoardError("x"), 3)]
)
def test_an_error_of_the_rig_is_said_once_with_its_next_step(
    error: RigError,
    code: int,
    command: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    error.hint = "do this"
    command(raises(error))
    assert cli.run(["try-it"]) == code
    assert capsys.readouterr().err == "error: x\n  next: do this\n"


def test_errors_of_several_tasks_are_all_said_and_the_worst_code_counts(
    command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raises(ExceptionGroup("tasks", [BenchError("one"), BoardError("two")])))
    assert cli.run(["try-it"]) == 3
    assert capsys.readouterr().err == "error: one\nerror: two\n"


def test_a_bug_is_not_hidden(command: Callable[[Callable[[], object]], None]) -> None:
    command(raises(ExceptionGroup("tasks", [BenchError("one"), ZeroDivisionError()])))
    with pytest.raises(ExceptionGroup):
        cli.run(["try-it"])


def test_a_bug_ends_as_inconclusive_with_its_traceback(
    command: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command(raises(ZeroDivisionError("oops")))
    monkeypatch.setattr(sys, "argv", ["rig", "try-it"])
    monkeypatch.setattr(cli, "_end_cleanly_on_signals", lambda: None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
    assert "ZeroDivisionError: oops" in capsys.readouterr().err


def test_ctrl_c_ends_with_130(
    command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(raises(KeyboardInterrupt()))
    assert cli.run(["try-it"]) == 130
    assert capsys.readouterr().err.split() == ["interrupted"]


def test_what_a_command_returns_is_the_exit_code(
    command: Callable[[Callable[[], object]], None],
) -> None:
    command(lambda: 1)
    assert cli.run(["try-it"]) == 1


@pytest.mark.parametrize("words", ["--help", "checks", "doctor"])
def test_a_reader_that_leaves_early_ends_it_in_silence_and_without_a_verdict(words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*RIG, words], stdout=writer, stderr=subprocess.PIPE, timeout=50, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_let_a_command_undo_what_it_did(number: signal.Signals) -> None:
    code = (
        "import asyncio, sys, rig.cli\n"
        "async def work():\n"
        "    try:\n"
        "        print('at work', flush=True)\n"
        "        await asyncio.get_running_loop().create_future()\n"
        "    finally:\n"
        "        print('undone', flush=True)\n"
        "rig.cli.run = lambda: asyncio.run(work())\n"
        "try: rig.cli.main()\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "at work\n"
        child.send_signal(number)
        assert child.stdout.read() == "undone\n"
    assert child.returncode == 130


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_every_shell(shell_name: str) -> None:
    done = shell("completion", shell_name)
    assert done.returncode == 0
    assert "_RIG_COMPLETE" in done.stdout


def test_completion_knows_commands_and_boards() -> None:
    done = shell(_RIG_COMPLETE="bash_complete", COMP_WORDS="rig doc", COMP_CWORD="1")
    assert "doctor" in done.stdout
    done = shell(_RIG_COMPLETE="bash_complete", COMP_WORDS="rig reset v", COMP_CWORD="2")
    assert "virtual" in done.stdout


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("rig run rec", "recycle-fd"),
        ("rig run --board v", "virtual"),
        ("rig run --faults loss,ra", "loss,rate"),
        ("rig run --swallow rs", "rst"),
        ("rig scenarios two", "two-servers"),
        ("rig faults sta", "stall"),
        ("rig checks no_c", "no_crash"),
        ("rig fault virtual lo", "loss"),
    ],
)
def test_completion_knows_the_names_of_what_there_is(
    words: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_RIG_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        cli.run([])
    assert f"plain,{name}" in capsys.readouterr().out.splitlines()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes_without_a_word_of_its_own_in_zshrc(tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text(shell("completion", "zsh").stdout)
    done = subprocess.run(
        ["zsh", "-i", "-c", "whence -w _rig_completion; print $_comps[rig]"],
        env={**os.environ, "ZDOTDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.splitlines()[-2:] == ["_rig_completion: function", "_rig_completion"]
    assert "compdef" not in done.stderr


def test_help_is_a_word_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["help"]) == 0
    assert "Exit codes" in capsys.readouterr().out
    assert cli.run(["help", "verdict"]) == 0
    assert "Judge the run in DIR again" in capsys.readouterr().out
    assert cli.run(["help", "verdcit"]) == 2
    assert "Did you mean verdict?" in capsys.readouterr().err


def _helps() -> list[list[str]]:
    found = []
    for name in cli.COMMANDS:
        loaded = cli.cli.get_command(click.Context(cli.cli), name)
        subs = list(loaded.commands) if isinstance(loaded, click.Group) else []
        found += [[name], *([name, sub] for sub in subs)]
    return found


def test_each_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    without = []
    for words in _helps():
        assert cli.run([*words, "--help"]) == 0
        said = capsys.readouterr().out.partition("\n")[2]
        without += [] if f"  rig {' '.join(words)}" in said else [words]
    assert without == []


def test_ctrl_c_while_it_loads_prints_no_traceback() -> None:
    interrupted = "import builtins, os, signal; real = builtins.__import__\n"
    interrupted += "def slow(name, *rest, **more):\n"
    interrupted += "    if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
    interrupted += "    return real(name, *rest, **more)\n"
    interrupted += "builtins.__import__ = slow; from rig.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""
