"""Where reports go: a terminal's window, or what has none."""

from __future__ import annotations

import pytest

from rig.console.screen import report_console
from rig.report.listing import show_listing

LONG = "word " * 60 + "end"


def test_down_a_pipe_each_line_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    report_console().print(LONG)
    show_listing([{"name": "check", "title": "title", "source": LONG}], as_json=False)
    said = capsys.readouterr().out.splitlines()
    assert said == [LONG, "check  title", f"  source    {LONG}"]


def test_a_terminals_width_is_kept_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    report_console().print(LONG)
    said = capsys.readouterr().out.splitlines()
    assert len(said) > 5
    assert max(map(len, said)) <= 40
