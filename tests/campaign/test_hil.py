from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rig.air.client import Radio
from rig.boards.bench import find_bench
from rig.campaign import hil
from rig.campaign.radio import radio_of


class Opened(Exception):
    """A mock session was asked for: nothing more is wanted of it."""


def test_pytest_has_the_access_point_of_the_bench_as_rig_run_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(
        '[network]\nssid = "lab"\nhostapd = "/run/hostapd/wlan0"\nmonitors = ["wlan1mon"]\n'
        '[boards.kitchen]\naddress = "10.0.0.9"\n'
    )
    bench = find_bench(path)
    asked: dict[str, Any] = {}

    def session(*_board_and_folder: object, **settings: object) -> None:
        asked.update(settings)
        raise Opened

    monkeypatch.setattr(hil, "Session", session)
    with pytest.raises(Opened), hil.open_hil(bench, ["kitchen"], out=tmp_path / "out"):
        pass
    assert asked["radio"] == radio_of(bench)
    assert asked["radio"] == Radio("/run/hostapd/wlan0", None, ("wlan1mon",))
