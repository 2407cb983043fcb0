"""A bench with the virtual board in a home of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.boards.virtual.board import VirtualBoard, VirtualSettings

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the virtual boards of this test keep their flash; all are unplugged at its end."""
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SENDSPIN_RIG_BENCH", raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"
    for control in tmp_path.rglob("control"):
        settings = VirtualSettings(home=control.parent, namespace=False)
        asyncio.run(VirtualBoard("virtual", settings).unplug())
