"""The ways to the helper's rights, and a polite word where there is none."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rig.air import privilege, probe
from rig.errors import FaultError

HELPER = [sys.executable, "-I", "-m", "rig.air.helper"]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No rights of one's own, no launcher, and no sudo: `tmp_path` is all of PATH."""
    monkeypatch.setattr(privilege, "missing", lambda: ["CAP_NET_ADMIN"])
    monkeypatch.delenv(privilege.LAUNCHER, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def sudo_that_allows(folder: Path, line: list[str]) -> None:
    """A mock of sudo whose rules name one command line and nothing else."""
    allowed = " ".join(["-n", "-l", "--", *line])
    path = folder / "sudo"
    path.write_text(f'#!/bin/sh\n[ "$*" = {shlex.quote(allowed)} ]\n')
    path.chmod(0o755)


def test_without_any_way_it_is_refused_politely(plain: Path) -> None:
    with pytest.raises(FaultError, match="rights that this process lacks") as caught:
        privilege.command()
    assert "sudo -n" in str(caught.value.hint)


def test_a_launcher_comes_before_sudo(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sudo_that_allows(plain, HELPER)
    monkeypatch.setenv(privilege.LAUNCHER, "setpriv --inh-caps '+net_raw'")
    assert privilege.command() == ["setpriv", "--inh-caps", "+net_raw", *HELPER]


def test_sudo_is_asked_for_the_very_line_that_it_is_to_run(plain: Path) -> None:
    sudo_that_allows(plain, [*HELPER, "heal", "/x"])
    assert privilege.command("heal", "/x") == [f"{plain}/sudo", "-n", "--", *HELPER, "heal", "/x"]
    with pytest.raises(FaultError):
        privilege.command()


def test_what_does_not_work_here_is_said_by_the_faults_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fine() -> None:
        return

    async def refused() -> None:
        raise FaultError("the kernel has none")

    async def broken() -> None:
        raise OSError(95, "Operation not supported")

    class NoShaper:
        """A mock: nothing is brought up for this test."""

        class ip:
            """A mock of netlink."""

            @staticmethod
            async def link(*_: object, **__: object) -> None:
                return

        def close(self) -> None:
            return

    monkeypatch.setattr(probe, "Shaper", NoShaper)
    monkeypatch.setattr(probe, "ABILITIES", {"rate": fine, "loss": refused, "capture": broken})
    assert asyncio.run(probe.probe()) == {
        "rate": "",
        "loss": "the kernel has none",
        "capture": "Operation not supported",
    }


@pytest.mark.root
def test_every_kind_of_fault_is_tried_in_a_namespace_of_its_own() -> None:
    done = subprocess.run(
        [*HELPER, "probe"], capture_output=True, text=True, timeout=60, check=True
    )
    tried = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert list(tried) == list(probe.ABILITIES)
    assert tried["capture"] == ""
    assert "srigprobe" not in Path("/proc/net/dev").read_text()


@pytest.mark.root
def test_a_helper_that_would_never_hear_of_its_end_does_not_begin() -> None:
    done = subprocess.run(
        HELPER, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pipes" in done.stderr


@pytest.mark.root
def test_the_callers_python_settings_are_not_the_helpers(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('not this one')")
    done = subprocess.run(
        HELPER,
        input="",
        env={"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "/nowhere", "PYTHONHOME": "/nowhere"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
