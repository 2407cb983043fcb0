"""Every fault declares itself completely, and its parameters are held to their ranges."""

from __future__ import annotations

import pytest

from rig.errors import BenchError
from rig.faults import Param, all_faults, get_fault

FAULTS = sorted(all_faults())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_does_and_how_it_is_seen(name):
    fault = get_fault(name)
    assert fault.name == name
    assert fault.title
    assert fault.seen
    assert fault.make.__doc__
    for param in fault.params:
        assert param.unit or param.name == "seed"
        assert param.low <= param.default <= param.high
        assert param.title


def test_the_faults_of_the_issue_are_there():
    assert {"rst", "fin", "silence", "stall", "cut", "closed-window", "delay", "trickle"} <= set(
        FAULTS
    )
    assert {"no-upgrade", "no-hello", "storm", "recycle", "queue-full"} <= set(FAULTS)


def test_an_unknown_fault_names_the_nearest():
    with pytest.raises(BenchError, match="did you mean 'recycle'"):
        get_fault("recycel")


def test_an_unknown_parameter_names_the_nearest():
    with pytest.raises(BenchError, match="did you mean 'keep'"):
        get_fault("cut").arguments({"kep": 3})


@pytest.mark.parametrize("value", [0, 65, float("nan")])
def test_a_parameter_out_of_its_range_is_refused_with_the_range(value):
    with pytest.raises(BenchError, match="1 to 64 bytes"):
        get_fault("cut").arguments({"keep": value})


def test_parameters_left_out_have_their_defaults():
    assert get_fault("cut").arguments({}) == {"keep": 3.0}


def test_the_edges_of_a_range_are_inside():
    param = Param("n", "s", 2, 1, 3, "how long")
    assert (param.checked(1), param.checked(3)) == (1, 3)
