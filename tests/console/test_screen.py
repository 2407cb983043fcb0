"""What a report prints cannot reach the terminal as anything but text."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from rig.console.screen import Screen

EVIL = "a\x1b]52;c;aGk=\x07b\x9b31mc\N{RIGHT-TO-LEFT OVERRIDE}d\x85e\r"


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_no_text_is_obeyed(terminal):
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=terminal, color_system=None, width=80)
    table = Table(EVIL)
    table.add_row(Text(EVIL))
    for each in (EVIL, Text(EVIL), table):
        screen.print(each)

    said = file.getvalue()
    assert said.count("a·]52;c;aGk=") == 4
    assert "c·d·e" in said
    assert all(char.isprintable() for char in said.replace("\n", ""))


def test_its_own_colours_and_lines_stay():
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=True, color_system="standard", width=80)
    screen.print("[bold]one[/]\ntwo")

    assert file.getvalue() == "\x1b[1mone\x1b[0m\ntwo\n"


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_down_a_pipe_no_line_ends_in_blanks(terminal):
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=terminal, color_system=None, width=80)
    table = Table.grid(padding=(0, 2))
    table.add_row("a", " b  c ")
    table.add_row("", "longer than the other")
    screen.print(table)
    screen.print("d   ", end="")
    screen.print("e")

    lines = file.getvalue().splitlines()
    assert [line.rstrip() for line in lines] == ["a   b  c", "   longer than the other", "d   e"]
    assert any(line != line.rstrip() for line in lines) is terminal
