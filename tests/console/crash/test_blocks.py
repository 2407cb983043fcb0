"""Lines read in blocks say what they say one by one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.console.crash import CrashReader
from rig.console.crash.blocks import feed_lines


def load(name: str) -> Any:
    """A module beside this file (tests are no package)."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


made = load("made")

STACK = [
    f"3fc9{n:04x}: " + " ".join(f"0x4200{n:04x}" for _ in range(8)) for n in range(0, 1024, 32)
]
XTENSA_ROWS = [
    "PC      : 0x400d1000  PS      : 0x00060730  A0      : 0x800e0395  A1      : 0x3ffb2e28  ",
    "A2      : 0x00000000  A3      : 0x00000039  A4      : 0x00000001  A5      : 0x00000000  ",
    "A6      : 0x00004629  A7      : 0x420a72d0  A8      : 0x000003e8  A9      : 0x00000069  ",
    "A10     : 0x11264811  A11     : 0x000e025b  A12     : 0x3c09b492  A13     : 0x00000062  ",
    "A14     : 0x3c0a72f5  A15     : 0x3c0e9bec  SAR     : 0x0000000a  EXCCAUSE: 0x0000001c  ",
    "EXCVADDR: 0x000003e8  LBEG    : 0x4007ad61  LEND    : 0x4005e7d9  LCOUNT  : 0xfffffffe  ",
]
PIECES = st.one_of(
    made.CRASHES.map(lambda crash: crash.lines),
    made.BOOTS,
    made.LOGS,
    st.just(XTENSA_ROWS),
    st.just(STACK),
    st.integers(0, 5).map(lambda n: XTENSA_ROWS[:n]),
    st.integers(1, 32).map(lambda n: STACK[:n]),
    st.just([""] * 205),
    st.just(["Task watchdog got triggered. The following tasks did not reset:", *STACK]),
)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(PIECES, max_size=6), data=st.data())
def test_a_block_says_what_its_lines_say(pieces: list[list[str]], data: st.DataObject) -> None:
    lines = [line for piece in pieces for line in piece]
    for _ in range(data.draw(st.integers(0, 3))):  # torn and lost lines
        if lines:
            at = data.draw(st.integers(0, len(lines) - 1))
            keep = data.draw(st.integers(0, len(lines[at])))
            lines[at : at + 1] = [lines[at][:keep]] if keep else []
    one = CrashReader()
    alone = [event for n, text in enumerate(lines, 1) for event in one.feed(n, text)]
    many = CrashReader()
    cut = data.draw(st.integers(0, len(lines)))
    together = [*feed_lines(many, 1, lines[:cut]), *feed_lines(many, cut + 1, lines[cut:])]
    assert [*together, *many.flush()] == [*alone, *one.flush()]
