"""The command that `rig run` says repeats a run."""

from __future__ import annotations

import shlex

import pytest

from rig.commands.run import again, command


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "-- --seed 1"),
        ("baseline drop-queued --no-flash", "baseline drop-queued -- --seed 1 --no-flash"),
        ("--seed 7 --out there --json --wait", "-- --seed 7"),
        ("--swallow rst --swallow fin", "-- --seed 1 --swallow rst --swallow fin"),
        ("--firmware 'my build' --timeout 5", "-- --firmware 'my build' --seed 1 --timeout 5"),
    ],
)
def test_it_says_all_that_made_a_difference(given: str, said: str) -> None:
    board = "--board virtual"
    with command.make_context("run", shlex.split(given)) as context:
        assert " ".join(again(context)) == f"rig run {said.replace('-- ', board + ' ', 1)}"
