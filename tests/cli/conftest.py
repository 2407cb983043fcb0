"""A bench with the virtual board in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import cli

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the virtual boards of this test keep their flash; unplugged at its end."""
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SENDSPIN_RIG_BENCH", raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"
    (tmp_path / "bench.toml").unlink(
        missing_ok=True
    )  # a broken one must not keep a board plugged in
    for board in (tmp_path / "home").glob("virtual-*"):
        cli.run(["unplug", board.name.replace("-", ":")])
