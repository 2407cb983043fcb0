"""What was learned of a device becomes the times that scenarios keep."""

from __future__ import annotations

import pytest

from rig.scenarios.device import Device


def test_one_late_hello_does_not_move_the_delay():
    assert Device(hello_delays=(0.104, 0.105, 0.9)).hello_delay == 0.105


def test_the_slowest_turn_counts():
    assert Device(turns=(0.005, 0.03, 0.007)).turn == 0.03


@pytest.mark.parametrize(("turn", "step"), [(0.001, 0.1), (0.02, 0.16), (3.0, 0.5)])
def test_a_step_spans_several_turns_within_what_a_stall_allows(turn, step):
    assert Device(turns=(turn,)).step == pytest.approx(step)


@pytest.mark.parametrize(("delay", "within"), [(0.001, 1.5), (0.3, 3.0), (2.0, 5.0)])
def test_a_slower_hello_is_waited_for_longer(delay, within):
    assert Device(hello_delays=(delay,)).greet_within == pytest.approx(within)
