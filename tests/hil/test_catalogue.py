"""The whole catalogue on the board under test: `pytest --board NAME [--firmware B] tests/hil`."""

import pytest

from rig.checks import Verdict
from rig.scenarios.registry import catalogue


@pytest.mark.hil
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [scenario.name for scenario in catalogue()])
def test_the_device_survives(play, board, name):
    verdict = play(name)
    if verdict.verdict is Verdict.INCONCLUSIVE and not verdict.cycles:
        pytest.skip(f"inconclusive: {verdict.reason}")
    failed = [f"{c.check}: {c.message}" for c in verdict.checks if c.verdict is Verdict.FAIL]
    assert verdict.verdict is Verdict.PASS, "\n".join([verdict.reason or "", *failed])
