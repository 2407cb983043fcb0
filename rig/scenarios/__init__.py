"""Scenarios: plans of what to do to a device, with which faults, judged by which checks."""

from rig.scenarios.registry import Scenario, all_scenarios, get_scenario, scenario
from rig.scenarios.stage import Lacking, Stage

__all__ = ["Lacking", "Scenario", "Stage", "all_scenarios", "get_scenario", "scenario"]
