"""A board that prints a CI's commands commands nothing."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.console.workflow import InertStream, inert

HOSTILE = (
    "::error::pwn",
    "  \t::stop-commands::x",
    "a\r::add-mask::y",
    "x ##[error]z",
    "###[debug]",
)


def obeyed(text: str) -> list[str]:
    """The lines that GitHub's runner would obey, by its own rules."""
    lines = re.split(r"\r\n|\r|\n", text)
    return [line for line in lines if line.lstrip().startswith("::") or "##[" in line]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_command_is_broken_and_stays_readable(text: str) -> None:
    assert obeyed(text)
    assert obeyed(inert(text)) == []
    assert inert(text).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("text", ["std::vector<int>", "a ::b", "fe80::1", "#[x]", "a: :b"])
def test_what_is_no_command_stays_as_it_is(text: str) -> None:
    assert inert(text) == text


@given(st.lists(st.text(alphabet=":#[ \t\r\nax", max_size=6), max_size=8))
def test_no_way_to_cut_it_into_writes_makes_a_command(parts: list[str]) -> None:
    raw = io.BytesIO()
    stream = InertStream(raw, encoding="utf-8", newline="")
    for part in parts:
        stream.write(part)
    stream.flush()
    said = raw.getvalue().decode()
    assert obeyed(said) == []
    assert re.sub(r"[ \t]", "", said) == re.sub(r"[ \t]", "", "".join(parts))


def test_the_whole_command_line_is_guarded_under_github_actions(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "\n".join([*HOSTILE, "Guru Meditation Error: Core  0 panic'ed (##[error]x).", ""])
    )
    for words in (["triage", str(log)], ["triage", "--json", str(log)], ["verdict", "::error::x"]):
        command = [sys.executable, "-m", "rig", *words]
        environment = os.environ | {"GITHUB_ACTIONS": "true", "SENDSPIN_RIG_HOME": str(tmp_path)}
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, timeout=60
        )
        said = done.stdout + done.stderr
        assert "error" in said
        assert obeyed(said) == [], said
