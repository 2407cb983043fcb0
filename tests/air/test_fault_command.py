from __future__ import annotations

import pytest

from rig.commands.fault import _parsed, _seconds
from rig.errors import BenchError


def test_the_value_is_the_first_parameter() -> None:
    fault, _, values = _parsed("loss=20%")
    assert fault.name == "loss"
    assert values == {"share": 20, "direction": 0}


def test_other_parameters_are_named() -> None:
    _, _, values = _parsed("packet-delay=200ms:jitter=50:direction=1")
    assert values == {"ms": 200, "jitter": 50, "direction": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("los=20", "no fault 'los'"),
        ("rst", "rst is not made by hand"),
        ("loss=much", "'much' is no number"),
        ("loss=20ms", "no number in %"),
        ("loss=120", "out of range"),
        ("loss=20:colour=1", "no parameter of loss 'colour'"),
        ("silence-to-device=3", "takes no value"),
    ],
)
def test_what_is_wrong_is_named(words: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        _parsed(words)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [((), 30), (("for", "10s"), 10), (("for", "2m"), 120), (("for", "500", "ms"), 0.5)],
)
def test_durations(words: tuple[str, ...], seconds: float) -> None:
    assert _seconds(words) == seconds


@pytest.mark.parametrize("words", [("30s",), ("for",), ("for", "ever"), ("for", "2h")])
def test_no_duration_and_too_long_a_one_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(BenchError):
        _seconds(words)
