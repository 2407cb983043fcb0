"""`rigup` before the network: finding a Python, refusing clearly, not doing work twice.

A stand-in for pip (`FAKE_PIP`) replaces the one step that needs the network; the shell, Python, the
virtual environments and the locks are real.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = Path(sys.base_prefix) / "bin" / "python3"

FAKE_PIP = """\
import os, pathlib, sys
venv = pathlib.Path(sys.prefix)
log = pathlib.Path(sys.argv[sys.argv.index("--log") + 1])
calls = venv.parent / "calls"
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
if (wait := os.environ.get("FAKE_PIP_WAITS")):
    print("pip waits", flush=True)
    open(wait).read()
if (words := os.environ.get("FAKE_PIP_FAILS")):
    log.write_text(words)
    sys.exit(1)
for name in ("rig", "tox"):
    tool = venv / "bin" / name
    tool.write_text(f'#!/bin/sh\\necho "{name}: $*"; exit 7\\n')
    tool.chmod(0o755)
"""


class Clone:
    """A clone of the project as far as rigup looks at it, in a path with a space."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "my clone"
        self.folder.mkdir()
        shutil.copy(ROOT / "rigup", self.folder)
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        self.tools = folder / "tools"
        self.tools.mkdir()
        for tool in ("cat", "cksum", "dirname", "readlink", "rm", "grep", "tail", "cp"):
            (self.tools / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
        self.home = folder / "home"
        self.home.mkdir()
        self.venv = self.folder / ".venv"

    def python(self, name: str = "python3", folder: Path | None = None) -> None:
        """Put a Python on the PATH (or into `folder`): a real one, but for pip in what it makes."""
        fake = self.home / "pip"
        fake.mkdir(exist_ok=True)
        (fake / "__init__.py").touch()
        (fake / "__main__.py").write_text(FAKE_PIP)
        packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        body = (
            f'[ "$2" = venv ] || exec {BASE} "$@"\n'
            f'{BASE} -m venv --without-pip --clear "$4" && cp -r {fake} "$4/{packages}"'
        )
        self.script(name, body, folder)

    def script(self, name: str, body: str, folder: Path | None = None) -> None:
        """Put a program on the PATH (or into `folder`)."""
        path = (folder or self.tools) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def env(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": str(self.tools),
            "HOME": str(self.home),
            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),  # a relocated Python's
            **extra,
        }

    def rigup(
        self, *args: str, cwd: Path | None = None, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(self.folder / "rigup"), *args],
            cwd=cwd or self.folder,
            env=self.env(extra),
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def start(self, *args: str, **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/sh", str(self.folder / "rigup"), *args],
            cwd=self.folder,
            env=self.env(extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def installs(self) -> int:
        """How often pip was run."""
        calls = self.folder / "calls"
        return len(calls.read_text()) if calls.exists() else 0


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_it_is_a_clean_posix_script() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck here (apt install shellcheck)")
    done = subprocess.run([shellcheck, ROOT / "rigup", ROOT / ".ci/run"], capture_output=True)
    assert done.stdout == b""


def test_it_sets_up_once_and_hands_its_arguments_on(clone: Clone) -> None:
    clone.python()
    first = clone.rigup("flash", "a b", "--json")
    assert (first.returncode, first.stdout) == (7, "rig: flash a b --json\n")
    assert "setting up" in first.stderr
    second = clone.rigup("flash")
    assert (second.stdout, second.stderr) == ("rig: flash\n", "")
    assert clone.installs == 1


def test_without_arguments_it_shows_what_next(clone: Clone) -> None:
    clone.python()
    assert clone.rigup().stdout == "rig: --help\n"


def test_test_runs_tox_with_the_arguments(clone: Clone) -> None:
    clone.python()
    assert clone.rigup("test", "-e", "py").stdout == "tox: -e py\n"


def test_it_works_from_another_folder_and_through_a_link(clone: Clone, tmp_path: Path) -> None:
    clone.python()
    link = tmp_path / "elsewhere"
    link.symlink_to("my clone/rigup")
    done = subprocess.run(
        ["/bin/sh", str(link), "x"],
        cwd="/",
        env=clone.env({}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == "rig: x\n"
    assert clone.venv.is_dir()


def test_no_python_is_one_clear_error(clone: Clone) -> None:
    done = clone.rigup("x")
    assert done.returncode == 2
    assert "found no Python >= 3.12" in done.stderr
    assert "next: install one" in done.stderr
    assert not clone.venv.exists()


def test_a_python_that_is_too_old_is_passed_over(clone: Clone) -> None:
    clone.script("python3", "exit 1")
    clone.python("python3.13")
    assert clone.rigup("x").stdout == "rig: x\n"


def test_a_shim_without_a_version_behind_it_is_passed_over(clone: Clone) -> None:
    clone.script("python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    clone.python("python")
    assert clone.rigup("x").stdout == "rig: x\n"


def test_a_python_of_pyenv_is_found(clone: Clone) -> None:
    clone.python("python3", clone.home / ".pyenv/versions/3.12.1/bin")
    assert clone.rigup("x").stdout == "rig: x\n"


def test_a_python_that_uv_knows_is_found(clone: Clone) -> None:
    clone.python("python3.12", clone.home / "uv")
    clone.script("uv", f"[ $2 = find ] && echo '{clone.home}/uv/python3.12'")
    assert clone.rigup("x").stdout == "rig: x\n"


def test_uv_is_asked_to_get_one_when_there_is_none(clone: Clone) -> None:
    clone.python("python3.12", clone.home / "got")
    got, there = clone.home / "got/python3.12", clone.home / "there"
    clone.script("uv", f"[ $2 = install ] && exec >{there}\n[ -e {there} ] && echo {got}")
    assert clone.rigup("x").stdout == "rig: x\n"


def test_a_python_without_ensurepip_is_explained(clone: Clone) -> None:
    clone.script("python3", f'case "$2" in *ensurepip*) exit 1;; esac\nexec {BASE} "$@"')
    done = clone.rigup("x")
    assert done.returncode == 2
    assert "cannot make a virtual environment" in done.stderr
    assert "python3-venv" in done.stderr


def test_no_network_is_one_clear_error_and_the_next_try_works(clone: Clone) -> None:
    clone.python()
    done = clone.rigup("x", FAKE_PIP_FAILS="... NewConnectionError ...")
    assert done.returncode == 2
    assert "cannot reach the Python package index" in done.stderr
    assert clone.rigup("x").stdout == "rig: x\n"


def test_another_failure_of_pip_names_the_log(clone: Clone) -> None:
    clone.python()
    done = clone.rigup("x", FAKE_PIP_FAILS="boom")
    assert done.returncode == 2
    assert f"the whole story is in {clone.venv}/.rigup.log" in done.stderr


def test_a_changed_project_is_installed_again(clone: Clone) -> None:
    clone.python()
    clone.rigup("x")
    with (clone.folder / "pyproject.toml").open("a") as file:
        file.write("\n# one more dependency\n")
    assert clone.rigup("x").stdout == "rig: x\n"
    assert clone.installs == 2


def test_a_moved_clone_is_set_up_anew(clone: Clone, tmp_path: Path) -> None:
    clone.python()
    clone.rigup("x")
    (clone.venv / "left").touch()
    clone.folder = clone.folder.rename(tmp_path / "moved")
    assert clone.rigup("x").stdout == "rig: x\n"
    assert not (clone.folder / ".venv" / "left").exists()


def test_a_python_that_has_vanished_is_replaced(clone: Clone) -> None:
    clone.python()
    clone.rigup("x")
    for link in clone.venv.glob("bin/python*"):
        link.unlink()
        link.symlink_to("/gone/python3.12")
    assert clone.rigup("x").stdout == "rig: x\n"


def test_an_interrupted_set_up_is_redone_from_scratch(clone: Clone, tmp_path: Path) -> None:
    clone.python()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with clone.start("x", FAKE_PIP_WAITS=str(fifo)) as running:
        assert running.stdout is not None
        assert "pip waits\n" in iter(running.stdout.readline, "")
        os.killpg(running.pid, signal.SIGKILL)
    (clone.venv / "half").touch()
    assert clone.rigup("x").stdout == "rig: x\n"
    assert not (clone.venv / "half").exists()


def test_ctrl_c_while_it_sets_up_says_so_and_ends(clone: Clone, tmp_path: Path) -> None:
    clone.python()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with clone.start("x", FAKE_PIP_WAITS=str(fifo)) as running:
        assert running.stdout is not None
        assert "pip waits\n" in iter(running.stdout.readline, "")
        os.killpg(running.pid, signal.SIGINT)
        assert "interrupted; ./rigup again starts over" in running.stdout.read()
    assert running.returncode == 130


def test_two_at_once_set_up_once(clone: Clone, tmp_path: Path) -> None:
    clone.python()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with clone.start("one", FAKE_PIP_WAITS=str(fifo)) as one:
        assert one.stdout is not None
        assert "pip waits\n" in iter(one.stdout.readline, "")
        with clone.start("two") as two:
            assert two.stdout is not None
            assert "another rigup is setting this up" in two.stdout.readline()
            fifo.write_text("go on")
            assert two.stdout.read() == "rig: two\n"
        assert one.stdout.read().endswith("rig: one\n")
    assert clone.installs == 1


def test_a_folder_that_cannot_be_written_is_one_clear_error(clone: Clone) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere: run the tests as a user, too")
    clone.python()
    clone.folder.chmod(0o555)
    try:
        done = clone.rigup("x")
    finally:
        clone.folder.chmod(0o755)
    assert done.returncode == 2
    assert f"cannot write to {clone.folder}" in done.stderr


def test_a_later_call_is_quick(clone: Clone) -> None:
    clone.python()
    clone.rigup("x")
    times = []
    for _ in range(5):
        started = time.perf_counter()
        clone.rigup("x")
        times.append(time.perf_counter() - started)
    assert min(times) < 0.5
